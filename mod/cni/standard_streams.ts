import { CniError, Code } from "./errors.ts";

/** A configuration has some kilobytes; a stream without an end must not fill the memory. */
const MAX_INPUT_BYTES = 4 * 1024 * 1024;

/** Reads standard input to its end. @throws {CniError} 6 when it is too long */
export function readStandardInput(): string {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = new Uint8Array(64 * 1024);
    const count = Deno.stdin.readSync(chunk);
    if (count === null) break;
    length += count;
    if (length > MAX_INPUT_BYTES) {
      throw new CniError(Code.DECODING_FAILURE, `standard input exceeds ${MAX_INPUT_BYTES} bytes`);
    }
    chunks.push(chunk.subarray(0, count));
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return new TextDecoder().decode(bytes);
}

/** Writes all of a text. */
export function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}
