/** A file for Docker or CNI could not be written or read. The message names the file and the reason. */
export class ExportError extends Error {
  override readonly name = "ExportError";

  /** Adds the system's reason, such as `No space left on device (os error 28)`. */
  static from(what: string, cause: unknown): ExportError {
    return new ExportError(`${what}: ${reasonOf(cause)}`, { cause });
  }
}

/** Returns the message of a system error without the call and path that Deno adds. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/: [a-z]+ '.*$/s, "");
}
