import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { makeCertificates } from "../../../tests/lab/certificates.ts";
import { FewDescriptors, MORE_THAN_ENOUGH } from "../../../tests/lab/few_descriptors.ts";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { openListener } from "./serve_listener.ts";

/** Returns a free port, since {@linkcode openListener} does not return the port of a listener. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("openListener() logs whom it refuses and why, without a port or a secret", async () => {
  const directory = await Deno.makeTempDir({ prefix: "listener-" });
  try {
    const files = await makeCertificates(directory);
    const address = { hostname: "127.0.0.1", port: freePort() };
    using log = captureLog();
    const source = await openListener({
      ...{ address, caFile: files.ca },
      ...{ certFile: files.server.cert, keyFile: files.server.key },
    });
    const serving = (async () => {
      for await (const connection of source) {
        await connection.read(new Uint8Array(10)).catch(() => {});
        connection.close();
      }
    })();
    const read = (path: string) => Deno.readTextFile(path);
    const caCerts = [await read(files.ca)];
    const talk = async (connection: Deno.Conn) => {
      using open = connection;
      await open.write(new TextEncoder().encode("GET / HTTP/1.1\r\nCookie: SECRET\r\n\r\n"));
      while (await open.read(new Uint8Array(100)) !== null);
    };
    await talk(await Deno.connect(address));
    await assertRejects(async () => await talk(await Deno.connectTls({ ...address, caCerts })));
    const other = {
      cert: await read(files.otherCa),
      key: await read(files.otherCa.replace(".pem", "-key.pem")),
    };
    await assertRejects(async () =>
      await talk(await Deno.connectTls({ ...address, caCerts, ...other }))
    );
    const known = { cert: await read(files.client.cert), key: await read(files.client.key) };
    await talk(await Deno.connectTls({ ...address, caCerts, ...known }));
    source.close();
    await serving;

    assertEquals(log.lines.length, 3, log.lines.join("\n"));
    assertEquals(
      log.lines[0],
      "W TLS handshake with 127.0.0.1 failed: http request (it speaks no TLS; an agent takes " +
        "-remote-cafile there)",
    );
    assertMatch(log.lines[1]!, /did not return a certificate \(give it -remote-certfile and/);
    assertMatch(log.lines[2]!, /verify failed: self-signed certificate \(its certificate is to be/);
    assert(!log.lines.join().includes("SECRET"));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("openListener() uses another certificate and CA when their files change, and keeps connections", async () => {
  const directory = await Deno.makeTempDir({ prefix: "listener-" });
  try {
    const [former, latter] = [`${directory}/former`, `${directory}/latter`];
    for (const path of [former, latter]) await Deno.mkdir(path);
    const files = await makeCertificates(former);
    const others = await makeCertificates(latter);
    const address = { hostname: "127.0.0.1", port: freePort() };
    using log = captureLog();
    const source = await openListener({
      ...{ address, caFile: files.ca },
      ...{ certFile: files.server.cert, keyFile: files.server.key },
    });
    const serving = (async () => {
      const connections: Promise<void>[] = [];
      for await (const connection of source) {
        const buffer = new Uint8Array(10);
        connections.push(
          (async () => {
            while (await connection.read(buffer) !== null) await connection.write(buffer);
          })().catch(() => {}).finally(() => connection.close()),
        );
      }
      await Promise.all(connections);
    })();
    const connect = async ({ ca, client }: typeof files) => {
      const [caText, cert, key] = await Promise.all(
        [ca, client.cert, client.key].map((path) => Deno.readTextFile(path)),
      );
      return await Deno.connectTls({ ...address, caCerts: [caText!], cert: cert!, key: key! });
    };
    const echo = async (connection: Deno.Conn) => {
      await connection.write(new Uint8Array(10));
      return await connection.read(new Uint8Array(10));
    };
    const clientFiles = { ...files, ca: `${directory}/ca.pem` };
    await Deno.copyFile(files.ca, clientFiles.ca);
    using standing = await connect(clientFiles);
    assertEquals(await echo(standing), 10);

    // The certificate without its key is not used.
    await Deno.rename(others.server.cert, files.server.cert);
    while (!log.lines.some((line) => line.includes("is not the private key of"))) {
      using connection = await connect(clientFiles);
      assertEquals(await echo(connection), 10);
      await pause(50);
    }
    await Deno.rename(others.server.key, files.server.key);
    await Deno.copyFile(others.ca, files.ca);
    const again = async () => {
      try {
        using connection = await connect(others);
        return await echo(connection) === 10;
      } catch {
        return false;
      }
    };
    while (!await again()) await pause(50);
    await assertRejects(async () => {
      using connection = await connect(clientFiles);
      await echo(connection);
    });
    assertEquals(await echo(standing), 10);
    standing.close();
    source.close();
    await serving;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** A program that listens with openListener() on the port of its argument, and returns all bytes. */
const ECHO_SERVER = `
  import { openListener } from ${JSON.stringify(import.meta.resolve("./serve_listener.ts"))};
  import { WarningLog } from ${JSON.stringify(import.meta.resolve("../core/warning_log.ts"))};
  // From source Deno parses what is in a stack when it is first asked for, and needs a descriptor for it.
  new WarningLog().report("begins");
  await openListener({ address: { hostname: "203.0.113.1", port: 1 } }).catch(({ stack }) => stack);
  const address = { hostname: "127.0.0.1", port: Number(Deno.args[0]) };
  const source = await openListener({ address });
  console.log("listening");
  for await (const connection of source) {
    const buffer = new Uint8Array(100);
    (async () => {
      for (let count; (count = await connection.read(buffer)) !== null;) {
        await connection.write(buffer.subarray(0, count));
      }
    })().catch(() => {}).finally(() => connection.close());
  }
`;

Deno.test("openListener() goes on after clients have used up all descriptors", async () => {
  const address = { hostname: "127.0.0.1", port: freePort() };
  await using server = await FewDescriptors.start(ECHO_SERVER, String(address.port));
  const connect = () => Deno.connect(address);
  const greedy = await Promise.all(Array.from({ length: MORE_THAN_ENOUGH }, connect));
  // One behind all of those: it is answered once they have gone.
  using last = await connect();
  await last.write(new TextEncoder().encode("hello"));
  const buffer = new Uint8Array(100);
  const reading = last.read(buffer);
  assertEquals(await Promise.race([reading, greedy[0]!.read(buffer), pause(500)]), undefined);
  for (const connection of greedy) connection.close();
  assertEquals(await reading, 5);
  assertMatch(await server.end(), /Cannot take connections of -listen: Too many open files/);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
