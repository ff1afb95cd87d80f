import type { CallOptions } from "../../store/mod.ts";
import { type Opened, openStore } from "../../store/open.ts";
import { isLocal, type StoreOptions } from "../../store/options.ts";

/**
 * Opens an existing store for writing. Does not create a missing file of an embedded store: the path is
 * probably wrong.
 *
 * @throws {StoreFileError} when the file of an embedded store is missing, or cannot be used
 * @throws as {@linkcode openStore} does
 */
export async function openPresent(options: StoreOptions, call: CallOptions): Promise<Opened> {
  if (isLocal(options)) {
    const found = await openStore(options, { ...call, readOnly: true });
    if ("store" in found) await found.store[Symbol.asyncDispose]();
  }
  return await openStore(options, call);
}
