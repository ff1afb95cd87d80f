import { assert, assertEquals } from "@std/assert";
import { makeCertificates } from "../../tests/lab/certificates.ts";
import { TlsServer } from "../sys/tls/tls_server.ts";
import { serveHttp } from "./server.ts";
import type { HttpHandler } from "./http_connection.ts";
import type { HttpLimits } from "./limits.ts";

const text = new TextEncoder();

const LIMITS: HttpLimits = {
  ...{ connections: 100, connectionsPerAddress: 100, answersPerAddress: 1_000_000 },
  ...{ body: 65_536, head: 256, arrival: 10_000, idle: 60_000, departure: 60_000 },
};

/** Serves on a port of loopback while `talk` runs. */
async function serving(
  handler: HttpHandler,
  talk: (connect: () => Promise<Deno.TcpConn>) => Promise<void>,
  limits: Partial<HttpLimits> = {},
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stop = new AbortController();
  const done = serveHttp(listener, handler, { ...LIMITS, ...limits }, stop.signal);
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

/** Answers when the client has gone, or the server ends. */
const untilGone: HttpHandler = (_request, signal) =>
  new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve({ status: 200, body: "" }));
  });

/** Bytes that a client sends after its request, before it closes without waiting for the answer. */
const TAILS: readonly (readonly [string, string])[] = [
  ["nothing", ""],
  ["a part of another request", "GET /next HT"],
  ["more than a head may have", "x".repeat(1000)],
];

for (const [name, tail] of TAILS) {
  Deno.test(`serveHttp() aborts the handler's signal when a client closes that sent ${name} more`, async () => {
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
  const limits = { ...LIMITS, arrival: 300, idle: 600_000 };
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

Deno.test("serveHttp() reads heads and bodies in whatever pieces they come", async () => {
  await serving((request) => {
    const { method, path, body } = request;
    return Promise.resolve({
      status: 200,
      body: `${method} ${path} ${body.length} ${body.at(-1)}`,
    });
  }, async (connect) => {
    using connection = await connect();
    const body = `${"x".repeat(59_999)}y`;
    const head = `PUT /a HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n`;
    const bytes = text.encode(head + body + "GET /b HTTP/1.1\r\n\r\n");
    // The head byte by byte, the rest in pieces of all lengths.
    for (let at = 0, most = 1; at < bytes.length; at += most) {
      if (at > head.length) most = 1 + (at * 7) % 3_000;
      for (const piece = bytes.subarray(at, at + most);;) {
        assertEquals(await connection.write(piece), piece.length);
        break;
      }
      if (at < head.length) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    let answers = "";
    while (!answers.includes("GET /b")) answers += await readSome(connection);
    assert(answers.includes("PUT /a 60000 y"), answers);
  });
});

Deno.test("serveHttp() takes no memory for a body that is announced and does not come", async () => {
  await serving(() => Promise.resolve({ status: 200, body: "" }), async (connect) => {
    const length = 500_000_000;
    const before = Deno.memoryUsage();
    const connections = await Promise.all(Array.from({ length: 8 }, connect));
    for (const connection of connections) {
      const head = `PUT / HTTP/1.1\r\nContent-Length: ${length}\r\nExpect: 100-continue\r\n\r\nx`;
      await connection.write(text.encode(head));
      assertEquals((await readSome(connection)).split("\r\n")[0], "HTTP/1.1 100 Continue");
    }
    const { external, heapUsed } = Deno.memoryUsage();
    const taken = external + heapUsed - before.external - before.heapUsed;
    assert(taken < length / 4, `${taken} bytes`);
    for (const connection of connections) connection.close();
  }, { body: 2 ** 30 });
});

Deno.test("serveHttp() lets one address have so many connections, and so many bytes of answers", async () => {
  const limits = { connectionsPerAddress: 3, answersPerAddress: 60_000_000 };
  const long = "x".repeat(40_000_000);
  await serving(
    ({ path }) => Promise.resolve({ status: 200, body: path === "/long" ? long : "" }),
    async (connect) => {
      const ask = (connection: Deno.TcpConn, path: string) =>
        connection.write(text.encode(`GET ${path} HTTP/1.1\r\n\r\n`));
      const [first, second, third] = await Promise.all([connect(), connect(), connect()]);
      // None of the two takes its answer, of which the sockets' buffers hold a part.
      await ask(first!, "/long");
      await readSome(first!);
      await ask(second!, "/long");
      assertEquals((await readSome(second!)).split(" ")[1], "503");
      using fourth = await connect();
      const refused = await readSome(fourth).catch(() => " 503");
      assertEquals(refused.split(" ")[1], "503");
      for (const connection of [first!, second!]) connection.close();
      // A closed connection returns its quota.
      for (let answer = ""; !answer.includes(" 200 ");) {
        using again = await connect();
        await ask(again, "/").catch(() => {});
        answer = await readSome(again).catch(() => "");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      third!.close();
    },
    limits,
  );
});

Deno.test("serveHttp() keeps little room for a connection on which nothing comes, or a request waits", async () => {
  const count = 60;
  const limits = { head: 65_536 };
  let waiting = 0;
  await serving((request, signal) => {
    waiting++;
    return untilGone(request, signal);
  }, async (connect) => {
    const before = Deno.memoryUsage().external;
    const open = await Promise.all(Array.from({ length: count }, connect));
    for (const connection of open.slice(0, count / 2)) {
      await connection.write(text.encode("GET / HTTP/1.1\r\n\r\n"));
    }
    while (waiting < count / 2) await new Promise((resolve) => setTimeout(resolve, 10));
    const each = (Deno.memoryUsage().external - before) / count;
    // A head may have 64 KiB here, of which nothing is kept ready.
    assert(each < 8_192, `${each} bytes`);
    for (const connection of open) connection.close();
  }, limits);
});

Deno.test("serveHttp() ends with its signal: requests that wait, and a connection that comes too late", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const stop = new AbortController();
  const source = {
    async *[Symbol.asyncIterator]() {
      yield await listener.accept();
      const late = await listener.accept();
      stop.abort();
      yield late;
    },
    close: () => listener.close(),
  };
  const done = serveHttp(source, untilGone, LIMITS, stop.signal);
  using waiting = await connect();
  await waiting.write(text.encode("GET / HTTP/1.1\r\n\r\n"));
  using late = await connect();
  const started = performance.now();
  await done;
  assert(performance.now() - started < LIMITS.idle, "nobody closed the late connection");
  assertEquals([await readSome(waiting), await readSome(late)], ["", ""]);
});
