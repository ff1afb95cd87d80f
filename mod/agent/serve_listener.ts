import type { ConnectionSource } from "../server/mod.ts";
import type { ListenOptions } from "./options.ts";

/** The server cannot listen where it was told to. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/**
 * Listens where `-listen` says.
 *
 * @throws {ListenError} when that cannot be
 */
export async function openListener(options: ListenOptions): Promise<ConnectionSource> {
  await Promise.resolve();
  const { address } = options;
  if ("descriptor" in address) throw new ListenError("fd:// is not there yet");
  try {
    return Deno.listen(address) as ConnectionSource;
  } catch (cause) {
    throw new ListenError(
      `cannot listen on ${address.hostname}:${address.port} (-listen): ` +
        `${(cause as Error).message}; choose an address of this host and a free port`,
      { cause },
    );
  }
}
