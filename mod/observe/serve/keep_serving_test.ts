import { assertEquals } from "@std/assert";
import { FewDescriptors, MORE_THAN_ENOUGH } from "../../../tests/lab/few_descriptors.ts";
import { getUnix } from "../../http/client.ts";

/** Serves over TCP and on the socket that its argument names. */
const SERVER = `
  import { serveHealth } from ${JSON.stringify(import.meta.resolve("../health.ts"))};
  import { serveUnix } from ${JSON.stringify(import.meta.resolve("./unix_server.ts"))};
  import { textResponse } from ${JSON.stringify(import.meta.resolve("./pages.ts"))};
  const options = { hostNames: new Set(["localhost"]), pages: { "/": () => textResponse("here") }, signal: new AbortController().signal };
  await serveUnix({ ...options, path: Deno.args[0] });
  await Deno.writeTextFile(Deno.args[0] + ".port", String(serveHealth({ ...options, ip: "127.0.0.1", port: 0 })));
  console.log("serving");
`;

interface Way {
  readonly connect: () => Promise<{ close(): void }>;
  readonly get: () => Promise<string>;
}

Deno.test("keepServing() restarts a server that clients have ended by using up all descriptors", async () => {
  const directory = await Deno.makeTempDir({ prefix: "serving-" });
  const path = `${directory}/flanneld.sock`;
  try {
    await using server = await FewDescriptors.start(SERVER, path);
    const port = Number(await Deno.readTextFile(`${path}.port`));
    const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
    const ways: Readonly<Record<string, Way>> = {
      "health on 127.0.0.1": {
        connect,
        get: async () => {
          using connection = await connect();
          const request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
          await connection.write(new TextEncoder().encode(request));
          return (await new Response(connection.readable).text()).split("\r\n\r\n")[1]!;
        },
      },
      "on /.*sock": {
        connect: () => Deno.connect({ transport: "unix", path }),
        get: async () => (await getUnix(path, "/")).body,
      },
    };
    for (const [name, { connect, get }] of Object.entries(ways)) {
      assertEquals(await get(), "here\n");
      const greedy = await Promise.allSettled(Array.from({ length: MORE_THAN_ENOUGH }, connect));
      const said = server.waitFor(new RegExp(`Cannot serve ${name}.*: Too many open files`));
      // Deno 2.4 reports that when the connections that it has are gone.
      await Promise.race([said, pause(1000)]);
      for (const one of greedy) if (one.status === "fulfilled") one.value.close();
      await said;
      let answer: string | undefined;
      for (let i = 0; i < 100 && answer === undefined; i++) {
        await pause(100);
        answer = await get().catch(() => undefined);
      }
      assertEquals(answer, "here\n");
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
