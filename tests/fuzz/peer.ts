/** A server that answers each connection with given bytes, and a client that sends some. */
export class BytePeer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #running: Promise<void>;
  readonly #open = new Set<Deno.Conn>();
  /** Returns the answer to the next connections, from the request's header. */
  answer: (head: string) => Uint8Array = () => new Uint8Array();

  constructor() {
    this.#running = this.#run();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) close(connection);
    await this.#running;
  }

  async #run(): Promise<void> {
    const serving = new Set<Promise<void>>();
    for await (const connection of this.#listener) {
      this.#open.add(connection);
      const done: Promise<void> = this.#serve(connection).catch(() => {}).finally(() => {
        close(connection);
        this.#open.delete(connection);
        serving.delete(done);
      });
      serving.add(done);
    }
    await Promise.all(serving);
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(16_384);
    let head = "";
    while (!head.includes("\r\n\r\n")) {
      const count = await connection.read(buffer);
      if (count === null) return;
      head += new TextDecoder().decode(buffer.subarray(0, count));
    }
    await writeAll(connection, this.answer(head));
    // The end of the answer is the end of the connection.
    await connection.closeWrite?.();
  }
}

/** An HTTP answer that ends with its connection. */
export function httpAnswer(
  status: number,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Uint8Array {
  const bytes = new TextEncoder().encode(body);
  const lines = [
    `HTTP/1.1 ${status} Answer`,
    "Content-Type: application/json",
    "Connection: close",
    `Content-Length: ${bytes.length}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  const answer = new Uint8Array(head.length + bytes.length);
  answer.set(head);
  answer.set(bytes, head.length);
  return answer;
}

/** How long a server may keep silent before its client closes its side, in milliseconds. */
const SILENCE_MS = 100;
/** How long it may keep the connection after that, in milliseconds. */
const TIMEOUT_MS = 30_000;

/** Sends bytes to a port of loopback, reads what comes back, and closes its side when nothing more does. */
export async function sendBytes(port: number, bytes: Uint8Array): Promise<Uint8Array> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  let isLate = false;
  const timers = [
    setTimeout(() => connection.closeWrite().catch(() => {}), SILENCE_MS),
    setTimeout(() => {
      isLate = true;
      close(connection);
    }, TIMEOUT_MS),
  ];
  const parts: number[] = [];
  try {
    await writeAll(connection, bytes).catch(() => {});
    const buffer = new Uint8Array(16_384);
    for (let count; (count = await connection.read(buffer)) !== null;) {
      parts.push(...buffer.subarray(0, count));
    }
  } catch (error) {
    // A server that refuses early may reset the connection.
    if (isLate) throw new Error(`no end within ${TIMEOUT_MS} ms`, { cause: error });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    close(connection);
  }
  return Uint8Array.from(parts);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
