import { ConfigError } from "../../../config/mod.ts";
import { reasonOf } from "../../../export/errors.ts";
import { UsageError } from "../../errors.ts";

/** A network config as it was given on a command line. */
export interface GivenConfig {
  /** Without white space around it. */
  readonly text: string;
  /** For messages: `the config in net.json`. */
  readonly from: string;
}

/** Largest config: etcd takes no request beyond 1.5 MiB, and no config is near that. */
const MAX_BYTES = 1 << 20;

/**
 * Reads a network config from a word of the command line: the JSON itself, `-` for standard input, or the path of a
 * file.
 *
 * @throws {UsageError} for a word that is empty, or neither JSON nor an existing file
 * @throws {ConfigError} for a file that cannot be read, is too long or not UTF-8
 */
export async function readGivenConfig(
  word: string,
  stdin: ReadableStream<Uint8Array> = Deno.stdin.readable,
): Promise<GivenConfig> {
  if (word.trimStart().startsWith("{")) {
    return { text: word.trim(), from: "the config of the command line" };
  }
  if (word.trim() === "") {
    throw new UsageError(
      "the config that was given is empty: expected JSON that begins with {, a file, or - for standard input",
    );
  }
  if (word === "-") {
    const from = "the config of standard input";
    return { text: decode(await readAll(stdin, from), from), from };
  }
  const from = `the config in ${word}`;
  try {
    using file = await Deno.open(word);
    return { text: decode(await readAll(file.readable, from), from), from };
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    if (cause instanceof Deno.errors.NotFound) {
      throw new UsageError(
        `there is no file ${word}: expected JSON that begins with {, a file, or - for standard input`,
        { cause },
      );
    }
    const reason = cause instanceof Deno.errors.IsADirectory
      ? "it is a directory"
      : reasonOf(cause);
    throw new ConfigError(`cannot read ${word}: ${reason}`, { cause });
  }
}

async function readAll(stream: ReadableStream<Uint8Array>, from: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_BYTES) throw new ConfigError(`${from} has more than ${MAX_BYTES} bytes`);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

function decode(bytes: Uint8Array, from: string): string {
  try {
    // Drops a byte order mark, which Go's JSON does not take.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).trim();
  } catch (cause) {
    throw new ConfigError(`${from} is not UTF-8`, { cause });
  }
}
