/**
 * Both ends of flannel 0.7.1's client/server protocol, byte by byte, as they were seen on the wire.
 *
 * @module
 */

/** An answer, its body as it came. */
export interface RawAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/**
 * Sends requests as Go's HTTP client does for a flannel 0.7.1 of 2017.
 *
 * @param headers sent in the place of that client's, or besides; empty ones are left out
 */
export async function askAsFlannel(
  port: number,
  method: string,
  target: string,
  body?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawAnswer> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const fields = Object.entries({
    "Host": `127.0.0.1:${port}`,
    "User-Agent": "Go-http-client/1.1",
    "Content-Length": body === undefined ? "" : String(body.length),
    "Content-Type": body === undefined ? "" : "application/json",
    "Accept-Encoding": "gzip",
    ...headers,
  });
  const lines = fields.filter(([, value]) => value !== "").map(([name, value]) =>
    `${name}: ${value}\r\n`
  );
  await writeAll(
    connection,
    `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body ?? ""}`,
  );
  return parseAnswer(await readMessage(connection));
}

/** A server that answers each request target with a text, and keeps what it was asked. */
export class RawServer implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  readonly #running: Promise<void>;

  /** @param answer gives status and body, as Go's handlers write them; `undefined` holds the request */
  constructor(answer: (method: string, target: string) => [number, string] | undefined) {
    this.#running = this.#run(answer);
  }

  get address(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) {
      this.#open.delete(connection);
      connection.close();
    }
    await this.#running;
  }

  async #run(answer: (method: string, target: string) => [number, string] | undefined) {
    const serving: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.#open.add(connection);
      serving.push(
        this.#serve(connection, answer).catch(() => {}).finally(() => {
          if (this.#open.delete(connection)) connection.close();
        }),
      );
    }
    await Promise.all(serving);
  }

  async #serve(
    connection: Deno.Conn,
    answer: (method: string, target: string) => [number, string] | undefined,
  ): Promise<void> {
    for (;;) {
      const message = await readMessage(connection);
      if (message === "") return;
      const [method, target] = message.split(" ") as [string, string];
      const body = message.slice(message.indexOf("\r\n\r\n") + 4);
      this.requests.push(body === "" ? `${method} ${target}` : `${method} ${target} ${body}`);
      const reply = answer(method, target);
      if (reply === undefined) {
        await connection.read(new Uint8Array(1));
        return;
      }
      const [status, text] = reply;
      const type = status === 200 ? "application/json" : "text/plain";
      await writeAll(
        connection,
        `HTTP/1.1 ${status} ${status === 200 ? "OK" : "Error"}\r\n` +
          `Content-Type: ${type}; charset=utf-8\r\nDate: ${new Date().toUTCString()}\r\n` +
          `Content-Length: ${text.length}\r\n\r\n${text}`,
      );
    }
  }
}

async function writeAll(connection: Deno.Conn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Head and body of one message; empty at the end of the stream. All of it is ASCII here. */
async function readMessage(connection: Deno.Conn): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(4096);
  for (;;) {
    const head = text.indexOf("\r\n\r\n");
    if (head >= 0) {
      const length = Number(/content-length: (\d+)/i.exec(text.slice(0, head))?.[1] ?? 0);
      if (text.length >= head + 4 + length) return text.slice(0, head + 4 + length);
    }
    const count = await connection.read(buffer);
    if (count === null) return "";
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
}

function parseAnswer(message: string): RawAnswer {
  const head = message.indexOf("\r\n\r\n");
  return {
    status: Number(message.split(" ")[1]),
    contentType: /content-type: (.*)\r\n/i.exec(message)?.[1] ?? "",
    body: message.slice(head + 4),
  };
}
