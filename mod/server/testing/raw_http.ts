/**
 * Requests of any form to a server of `-listen`, with headers that `fetch` would not send.
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
 * Makes one request over a connection of its own.
 *
 * @param headers sent in the place of the usual ones, or besides; empty ones are left out
 */
export async function askRaw(
  port: number,
  method: string,
  target: string,
  body?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<RawAnswer> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const fields = Object.entries({
    "Host": `127.0.0.1:${port}`,
    "Content-Length": body === undefined ? "" : String(body.length),
    "Content-Type": body === undefined ? "" : "application/json",
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
