import { assertEquals, assertRejects } from "@std/assert";
import { parseResponse } from "../http/client.ts";
import { Prefix } from "../ip/mod.ts";
import { SocketError } from "../observe/serve/unix_server.ts";
import { type DockerPluginOptions, serveDockerPlugin } from "./serve.ts";

/** Sends calls over one connection, as dockerd does. */
async function call(socket: string, ...calls: [path: string, body: string][]): Promise<unknown[]> {
  using connection = await Deno.connect({ transport: "unix", path: socket });
  const answers: unknown[] = [];
  const buffer = new Uint8Array(4096);
  for (const [path, body] of calls) {
    const head = `POST /${path} HTTP/1.1\r\nHost: plugin\r\nContent-Length: ${body.length}`;
    await connection.write(new TextEncoder().encode(`${head}\r\n\r\n${body}`));
    let response: ReturnType<typeof parseResponse>;
    for (let size = 0; response === undefined;) {
      size += await connection.read(buffer.subarray(size)) ?? 0;
      response = parseResponse(buffer.subarray(0, size), false);
    }
    answers.push([response.status, JSON.parse(response.body)]);
  }
  return answers;
}

async function serving(
  test: (socket: string, stop: AbortController) => Promise<void>,
  options: Partial<DockerPluginOptions> = {},
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "docker-" });
  const socket = `${directory}/plugins/flannel.sock`;
  const stop = new AbortController();
  try {
    await serveDockerPlugin({
      ...{ leases: () => [], signal: stop.signal, socket, timeoutMs: 100 },
      ...options,
    });
    await test(socket, stop);
  } finally {
    stop.abort();
    while (await Deno.stat(socket).then(() => true, () => false)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Deno.remove(directory, { recursive: true });
  }
}

const refused = (message: string) => ({ Err: message, Error: message });

Deno.test("serveDockerPlugin() answers Docker on a socket of root's alone", async () => {
  await serving(async (socket) => {
    assertEquals((await Deno.stat(socket)).mode! & 0o777, 0o600);
    const drivers = { Implements: ["NetworkDriver", "IpamDriver"] };
    assertEquals(
      await call(
        socket,
        ["Plugin.Activate", ""],
        ["NetworkDriver.GetCapabilities", ""],
        ["NetworkDriver.CreateNetwork", "{"],
        ["NetworkDriver.Allocate", "{}"],
        ["IpamDriver.RequestPool", "{}"],
        ["constructor.name", "{}"],
      ),
      [
        [200, drivers],
        [200, { Scope: "local", ConnectivityScope: "local" }],
        [200, refused("the body of the call is not JSON")],
        [404, refused("flannel has no NetworkDriver.Allocate")],
        [200, refused("this host has no lease yet; flanneld status shows the reason")],
        [404, refused("flannel has no constructor.name")],
      ],
    );
  });
});

Deno.test("serveDockerPlugin() lets a call wait for the first lease", async () => {
  const subnet = Prefix.parse("203.0.113.0/24")!;
  let calls = 0;
  await serving(async (socket) => {
    assertEquals(await call(socket, ["IpamDriver.RequestPool", '{"Options":{}}']), [
      [200, { PoolID: "lease:", Pool: "203.0.113.0/24", Data: {} }],
    ]);
  }, {
    leases: () => calls++ < 1 ? [] : [{ name: "", network: subnet, subnet, mtu: 1450 }],
    timeoutMs: 60_000,
  });
});

Deno.test("serveDockerPlugin() replaces the socket of a dead process, and no other", async () => {
  await serving(async (socket) => {
    const again = { leases: () => [], signal: new AbortController().signal, socket };
    await assertRejects(() => serveDockerPlugin(again), SocketError, "another process does");
  });
  const directory = await Deno.makeTempDir({ prefix: "docker-" });
  const socket = `${directory}/flannel.sock`;
  Deno.listen({ transport: "unix", path: socket }).close();
  const stop = new AbortController();
  await serveDockerPlugin({ leases: () => [], signal: stop.signal, socket });
  assertEquals((await call(socket, ["NetworkDriver.DiscoverNew", "{}"])).length, 1);
  stop.abort();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await Deno.remove(directory, { recursive: true });
});
