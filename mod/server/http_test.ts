import { assert, assertEquals } from "@std/assert";
import { makeCertificates } from "../../tests/lab/certificates.ts";
import { TlsServer } from "../sys/tls_server.ts";
import { DEFAULT_LIMITS, type HttpHandler, serveHttp } from "./http.ts";

const text = new TextEncoder();

/** Serves on a port of loopback while `talk` runs. */
async function serving(
  handler: HttpHandler,
  talk: (connect: () => Promise<Deno.TcpConn>) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stop = new AbortController();
  const done = serveHttp(listener, handler, { ...DEFAULT_LIMITS, head: 256 }, stop.signal);
  try {
    await talk(() => Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }));
  } finally {
    stop.abort();
    await done;
  }
}

async function readSome(connection: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(1000);
  const count = await connection.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

/** What a client sends behind its request, before it is gone without waiting for the answer. */
const TAILS: readonly (readonly [string, string])[] = [
  ["nothing", ""],
  ["a part of another request", "GET /next HT"],
  ["more than a head may have", "x".repeat(1000)],
];

for (const [name, tail] of TAILS) {
  Deno.test(`serveHttp() tells the handler that the client is gone that sent ${name} more`, async () => {
    const begun = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    await serving(async (_request, signal) => {
      signal.addEventListener("abort", () => gone.resolve());
      begun.resolve();
      await gone.promise;
      return { status: 200, body: "" };
    }, async (connect) => {
      const connection = await connect();
      await connection.write(text.encode("GET / HTTP/1.1\r\n\r\n"));
      await begun.promise;
      await connection.write(text.encode(tail));
      connection.close();
      await gone.promise;
    });
  });
}

Deno.test("serveHttp() answers a request that comes while the one before is answered", async () => {
  const first = Promise.withResolvers<void>();
  await serving(async ({ path }) => {
    if (path === "/1") await first.promise;
    return { status: 200, body: path };
  }, async (connect) => {
    using connection = await connect();
    await connection.write(text.encode("GET /1 HTTP/1.1\r\n\r\n"));
    await connection.write(text.encode("GET /2 HTTP/1.1\r\n\r\n"));
    first.resolve();
    let answers = "";
    while (!answers.endsWith("/2")) answers += await readSome(connection);
    assertEquals(answers.match(/200 OK|\/\d$/gm), ["200 OK", "200 OK", "/2"]);
    await connection.write(text.encode("GET /3 HTTP/1.1\r\n\r\n"));
    answers = "";
    while (!answers.endsWith("/3")) answers += await readSome(connection);
  });
});

Deno.test("serveHttp() gives a handshake as long as a request, however long it would let one wait", async () => {
  const directory = await Deno.makeTempDir({ prefix: "tls-" });
  const { server } = await makeCertificates(directory);
  using tls = new TlsServer(server);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stop = new AbortController();
  const source = {
    close: () => listener.close(),
    async *[Symbol.asyncIterator]() {
      for await (const connection of listener) yield tls.wrap(connection);
    },
  };
  const limits = { ...DEFAULT_LIMITS, arrival: 300, idle: 600_000 };
  const handler = () => Promise.resolve({ status: 200, body: "" });
  const done = serveHttp(source, handler, limits, stop.signal);
  try {
    // The header of a TLS record that never comes (RFC 8446, 5.1), byte by byte; and nothing at all.
    for (const bytes of [[0x16, 0x03, 0x01, 0x02], []]) {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
      const reading = connection.read(new Uint8Array(1)).catch(() => null);
      const started = performance.now();
      for (const byte of bytes) {
        await connection.write(Uint8Array.of(byte)).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assertEquals(await reading, null);
      const took = performance.now() - started;
      assert(took < 10_000, `${took} ms`);
    }
  } finally {
    stop.abort();
    await done;
    await Deno.remove(directory, { recursive: true });
  }
});
