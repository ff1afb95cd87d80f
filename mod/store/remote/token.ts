import { ConfigError } from "../../config/errors.ts";

/** Flag that names the file, for messages. */
const FLAG = "-remote-token-file";

/**
 * A token is a `b64token` of RFC 6750, 2.1. Sixteen of its characters are 96 random bits, more than can be
 * guessed over a network.
 */
const TOKEN = /^[A-Za-z0-9._~+/=-]{16,512}$/;

/** Bytes of the file that are read: the longest token, with white space around it. */
const MAX_BYTES = 1_024;

/** Permission bits of a file that let others than its owner read or replace it (inode(7)). */
const OTHERS = 0o077;

/**
 * Reads the token that `-remote-token-file` names. Messages never quote the content of the file.
 *
 * @throws {ConfigError} naming flag and path when the file cannot be read, is open to other users or
 * belongs to one, or holds something else
 */
export async function readRemoteToken(path: string): Promise<string> {
  const fail = (reason: string, cause?: unknown): never => {
    throw new ConfigError(`${FLAG} ${path}: ${reason}`, { cause });
  };
  let info, bytes;
  try {
    if (!(await Deno.stat(path)).isFile) fail("is not a regular file");
    using file = await Deno.open(path);
    // Reads the mode of the open file, since the path may name another file by now.
    info = await file.stat();
    bytes = new Uint8Array(MAX_BYTES);
    bytes = bytes.subarray(0, await file.read(bytes) ?? 0);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    return fail(reasonOf(error), error);
  }
  const mode = (info.mode ?? 0) & 0o777;
  if ((mode & OTHERS) !== 0) {
    fail(`mode ${mode.toString(8).padStart(4, "0")} opens the token to other users; chmod 600 it`);
  }
  const { uid } = info;
  if (uid !== null && uid !== 0 && uid !== Deno.uid()) {
    fail(`belongs to user ${uid}, who can replace the token; chown it to root`);
  }
  const token = new TextDecoder().decode(bytes).trim();
  if (!TOKEN.test(token)) {
    fail(
      "expected one token of 16 to 512 letters, digits and . _ ~ + / = -, such as " +
        "`openssl rand -hex 32` prints",
    );
  }
  return token;
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  return error instanceof Error ? error.message : String(error);
}
