/** A file for Docker or CNI could not be written or read. The message names it and says why. */
export class ExportError extends Error {
  override readonly name = "ExportError";

  /** Adds the system's reason, such as `No space left on device (os error 28)`. */
  static from(what: string, cause: unknown): ExportError {
    return new ExportError(`${what}: ${reasonOf(cause)}`, { cause });
  }
}

/** A system's reason without the call and the path that Deno adds to it. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/: [a-z]+ '.*$/s, "");
}
