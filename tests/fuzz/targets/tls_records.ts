/** TLS records before `-listen`, on real OpenSSL. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { TlsServer } from "../../../mod/sys/tls/tls_server.ts";
import { makeCertificates } from "../../lab/certificates.ts";
import { bytesNear, concat } from "../mutate.ts";
import { sendBytes } from "../peer.ts";
import type { FuzzTarget } from "../target.ts";

/** A record: content type, version 3.x, length. */
function record(type: number, body: Uint8Array, version = 3): Uint8Array {
  return concat(Uint8Array.of(type, 3, version, body.length >> 8, body.length & 255), body);
}

function handshake(type: number, body: Uint8Array): Uint8Array {
  return concat(
    Uint8Array.of(type, body.length >> 16, body.length >> 8 & 255, body.length & 255),
    body,
  );
}

function extension(type: number, ...body: number[]): Uint8Array {
  return Uint8Array.of(type >> 8, type & 255, body.length >> 8, body.length & 255, ...body);
}

/** A ClientHello of TLS 1.3 (RFC 8446, 4.1.2), whose key share is a point of x25519. */
function clientHello(...extensions: readonly Uint8Array[]): Uint8Array {
  const more = concat(...extensions);
  return handshake(
    1,
    concat(
      Uint8Array.of(3, 3),
      new Uint8Array(32).fill(7),
      Uint8Array.of(32),
      new Uint8Array(32).fill(9),
      Uint8Array.of(0, 8, 0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0),
      Uint8Array.of(more.length >> 8, more.length & 255),
      more,
    ),
  );
}

const share = [0, 36, 0, 29, 0, 32, ...Array.from({ length: 32 }, (_, i) => i * 7 & 255)];
const HELLO = clientHello(
  extension(0, 0, 7, 0, 0, 4, 104, 111, 115, 116),
  extension(10, 0, 4, 0, 29, 0, 23),
  extension(13, 0, 6, 4, 3, 8, 4, 8, 7),
  extension(43, 4, 3, 4, 3, 3),
  extension(51, ...share),
  extension(45, 1, 1),
  extension(16, 0, 9, 8, 104, 116, 116, 112, 47, 49, 46, 49),
);
const SEEDS: readonly Uint8Array[] = [
  record(22, HELLO, 1),
  // TLS 1.2 has neither versions nor a key share.
  record(
    22,
    clientHello(extension(10, 0, 2, 0, 23), extension(11, 1, 0), extension(13, 0, 2, 4, 3)),
    1,
  ),
  concat(record(22, HELLO, 1), record(20, Uint8Array.of(1)), record(23, new Uint8Array(64))),
  concat(record(22, HELLO.subarray(0, 20)), record(22, HELLO.subarray(20))),
  record(21, Uint8Array.of(2, 40)),
  record(24, Uint8Array.of(1, 64, 0)),
  record(22, handshake(0, new Uint8Array())),
  new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
];

/** Bytes of somebody who speaks no TLS or a broken one, and changes to what a real client sends. */
interface Attack {
  readonly bytes: Uint8Array;
  /** Offset in the client's bytes at which one is changed, and by what it is changed (XOR). */
  readonly at: number;
  readonly flip: number;
}

/** Returns all bytes to the client; closes a connection whose handshake fails. */
async function echo(listener: Deno.TcpListener, server: TlsServer): Promise<void> {
  const serving = new Set<Promise<void>>();
  for await (const plain of listener) {
    const done: Promise<void> = (async () => {
      const connection = server.wrap(plain);
      const buffer = new Uint8Array(1000);
      try {
        for (let count; (count = await connection.read(buffer)) !== null;) {
          for (let at = 0; at < count;) at += await connection.write(buffer.subarray(at, count));
        }
      } catch {
        // TlsError, or the connection was reset: this connection alone.
      }
      connection.close();
    })().finally(() => serving.delete(done));
    serving.add(done);
  }
  await Promise.all(serving);
}

/** Sends a word by TLS, and reads it back; `undefined` when the connection does not stand. */
async function exchange(port: number, caCert: string): Promise<string | undefined> {
  let connection: Deno.TlsConn | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    connection = await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [caCert] });
    const { promise: late, reject } = Promise.withResolvers<never>();
    timer = setTimeout(() => reject(new Error("no echo within 30 s")), 30_000);
    await Promise.race([connection.write(new TextEncoder().encode("hello")), late]);
    const buffer = new Uint8Array(5);
    for (let at = 0; at < 5;) {
      const count = await Promise.race([connection.read(buffer.subarray(at)), late]);
      if (count === null) return undefined;
      at += count;
    }
    return new TextDecoder().decode(buffer);
  } catch (error) {
    if (/within 30 s/.test((error as Error).message)) throw error;
    return undefined;
  } finally {
    clearTimeout(timer);
    connection?.close();
  }
}

/** How long a changed connection may stand, in milliseconds: a length that grew lets both sides wait. */
const TAMPERED_MS = 300;

/** Passes bytes on for a moment, and changes one that the client sends. */
class Tampering implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #running: Promise<void>;
  change: Pick<Attack, "at" | "flip"> = { at: 0, flip: 0 };

  constructor(port: number) {
    this.#running = this.#run(port);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#running;
  }

  async #run(port: number): Promise<void> {
    const passing = new Set<Promise<unknown>>();
    for await (const client of this.#listener) {
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      const { at, flip } = this.change;
      let seen = 0;
      const changed = new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => {
          const copy = chunk.slice();
          if (at >= seen && at < seen + copy.length) copy[at - seen]! ^= flip;
          seen += copy.length;
          controller.enqueue(copy);
        },
      });
      const timer = setTimeout(() => {
        for (const side of [client, server]) {
          try {
            side.close();
          } catch {
            // It is closed already.
          }
        }
      }, TAMPERED_MS);
      const done: Promise<unknown> = Promise.all([
        client.readable.pipeThrough(changed).pipeTo(server.writable).catch(() => {}),
        server.readable.pipeTo(client.writable).catch(() => {}),
      ]).finally(() => {
        clearTimeout(timer);
        passing.delete(done);
      });
      passing.add(done);
    }
    await Promise.all(passing);
  }
}

export const tlsRecords: FuzzTarget<Attack> = {
  name: "tls_records",
  seeds: [
    ...SEEDS.map((bytes) => ({ bytes, at: 0, flip: 0 })),
    // A length that grows: both sides wait.
    { bytes: SEEDS[4]!, at: 3, flip: 37 },
    ...[0, 5, 60, 300, 350].map((at) => ({ bytes: SEEDS[0]!, at, flip: 1 })),
  ],
  inputs: fc.record({ bytes: bytesNear(SEEDS, 600), at: fc.nat(700), flip: fc.nat(255) }),
  start: async (stack) => {
    const directory = await Deno.makeTempDir({ prefix: "fuzz-tls-" });
    stack.defer(() => Deno.remove(directory, { recursive: true }));
    const { ca, server: files } = await makeCertificates(directory);
    const caCert = await Deno.readTextFile(ca);
    const server = stack.use(new TlsServer(files));
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const running = echo(listener, server);
    stack.defer(async () => {
      listener.close();
      await running;
    });
    const { port } = listener.addr;
    const tampering = stack.use(new Tampering(port));
    return async ({ bytes, at, flip }) => {
      if (flip === 0) await sendBytes(port, bytes);
      else {
        tampering.change = { at, flip };
        await exchange(tampering.port, caCert);
      }
      assertEquals(await exchange(port, caCert), "hello", "the next connection");
    };
  },
};
