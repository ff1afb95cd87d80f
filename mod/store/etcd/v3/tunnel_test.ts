import { assert, assertEquals, assertRejects } from "@std/assert";
import { dirname } from "@std/path";
import { makeCertificates } from "../../../../tests/lab/certificates.ts";
import { freePort } from "../../../../tests/lab/etcd/etcd.ts";
import { Tunnel } from "./tunnel.ts";

const hostname = "127.0.0.1";

/** Error that broke a tunnel. */
function breakage(): {
  readonly onBreak: (reason: Error) => void;
  readonly reason: Promise<string>;
} {
  const { promise, resolve } = Promise.withResolvers<string>();
  return { onBreak: ({ message }) => resolve(message), reason: promise };
}

async function readText(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(64);
  const count = await connection.read(buffer);
  return count === null ? "" : new TextDecoder().decode(buffer.subarray(0, count));
}

Deno.test("Tunnel carries bytes both ways, and leaves no file", async () => {
  using server = Deno.listen({ hostname, port: 0 });
  const { onBreak } = breakage();
  const tunnel = await Tunnel.open({ hostname, port: server.addr.port, timeout: 60_000, onBreak });
  const far = await server.accept();
  const { mode } = await Deno.stat(dirname(tunnel.path));
  assertEquals(mode! & 0o777, 0o700);
  const near = await Deno.connect({ transport: "unix", path: tunnel.path });
  await near.write(new TextEncoder().encode("ping"));
  assertEquals(await readText(far), "ping");
  await far.write(new TextEncoder().encode("pong"));
  assertEquals(await readText(near), "pong");
  assertEquals(tunnel.received, 4);
  await assertRejects(() => Deno.stat(dirname(tunnel.path)), Deno.errors.NotFound);
  near.close();
  assertEquals(await readText(far), "");
  far.close();
  await tunnel[Symbol.asyncDispose]();
});

Deno.test("Tunnel leaves no file when nobody has connected to it", async () => {
  using server = Deno.listen({ hostname, port: 0 });
  const { onBreak } = breakage();
  const tunnel = await Tunnel.open({ hostname, port: server.addr.port, timeout: 60_000, onBreak });
  const far = await server.accept();
  await tunnel[Symbol.asyncDispose]();
  await tunnel[Symbol.asyncDispose]();
  await assertRejects(() => Deno.stat(dirname(tunnel.path)), Deno.errors.NotFound);
  assertEquals(await readText(far), "");
  far.close();
});

Deno.test("Tunnel closes gRPC's side when it is closed while gRPC connects", async () => {
  using server = Deno.listen({ hostname, port: 0 });
  const directory = await Deno.makeTempDir({ prefix: "tunnel-" });
  // Accepted before the tunnel's connection, in the same turn of the event loop: what follows here runs after
  // the tunnel's listener has accepted, and before the tunnel knows.
  using earlier = Deno.listen({ transport: "unix", path: `${directory}/earlier` });
  const accepting = earlier.accept();
  const { onBreak } = breakage();
  const tunnel = await Tunnel.open({ hostname, port: server.addr.port, timeout: 60_000, onBreak });
  const far = await server.accept();
  const connecting = [`${directory}/earlier`, tunnel.path].map((path) =>
    Deno.connect({ transport: "unix", path })
  );
  const accepted = await accepting;
  await tunnel[Symbol.asyncDispose]();
  const [other, near] = await Promise.all(connecting);
  assertEquals(await readText(near!), "");
  assertEquals(await readText(far), "");
  await assertRejects(() => Deno.stat(dirname(tunnel.path)), Deno.errors.NotFound);
  for (const connection of [accepted, other!, near!, far]) connection.close();
  await Deno.remove(directory, { recursive: true });
});

Deno.test("Tunnel reports a break before it closes gRPC's side", async () => {
  using server = Deno.listen({ hostname, port: 0 });
  const { onBreak, reason } = breakage();
  await using tunnel = await Tunnel.open({
    hostname,
    port: server.addr.port,
    timeout: 60_000,
    onBreak,
  });
  const near = await Deno.connect({ transport: "unix", path: tunnel.path });
  const far = await server.accept();
  far.close();
  assertEquals(await reason, "the server closed the connection");
  let ended = false;
  const end = readText(near).then((text) => {
    ended = true;
    return text;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert(!ended, "closed before gRPC could");
  assertEquals(await end, "");
  near.close();
});

Deno.test("Tunnel.open() rejects when nobody listens", async () => {
  const { onBreak } = breakage();
  await assertRejects(
    () => Tunnel.open({ hostname, port: freePort(), timeout: 60_000, onBreak }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("Tunnel.open() gives up on a TLS server that says nothing", async () => {
  using server = Deno.listen({ hostname, port: 0 });
  const accepted = server.accept();
  const { onBreak } = breakage();
  const { port } = server.addr;
  await assertRejects(
    () => Tunnel.open({ hostname, port, tls: {}, timeout: 200, onBreak }),
    DOMException,
    "no connection within 0.2 s",
  );
  const far = await accepted;
  // Ends the handshake that nobody waits for any more.
  far.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
});

Deno.test("Tunnel.open() rejects a TLS server without HTTP/2", async () => {
  const directory = await Deno.makeTempDir({ prefix: "certificates-" });
  try {
    const { ca, server: { cert, key } } = await makeCertificates(directory);
    using server = Deno.listenTls({
      hostname,
      port: 0,
      cert: await Deno.readTextFile(cert),
      key: await Deno.readTextFile(key),
    });
    const serving = server.accept().then(async (connection) => {
      await connection.handshake();
      assertEquals(await readText(connection), "");
      connection.close();
    });
    const { onBreak } = breakage();
    const { port } = server.addr;
    const tls = { ca: await Deno.readTextFile(ca) };
    await assertRejects(
      () => Tunnel.open({ hostname, port, tls, timeout: 60_000, onBreak }),
      Error,
      "does not speak HTTP/2",
    );
    await serving;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
