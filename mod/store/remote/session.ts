import { StoreError } from "../errors.ts";
import type { Cursor, Kv, KvChange, Listing } from "../kv/kv.ts";
import { WireError } from "./wire_error.ts";

/** Result of one long poll. */
export type PollResult =
  | { readonly changes: readonly KvChange[]; readonly cursor: Cursor }
  | { readonly reason: string; readonly snapshot: Listing };

/** A source of long polls. */
export interface PolledRange {
  list: Kv["list"];
  /** Makes one long poll from `cursor`. */
  poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult>;
}

/** One protocol for one network: of a flanneld server, or of flannel 0.7.1. */
export interface RemoteSession
  extends PolledRange, Pick<Kv, "leaseForm" | "get" | "put" | "delete" | "assign"> {}

/** Decodes what a server answered. @throws {StoreError} when that is not possible */
export function decodeAnswer<T>(text: string, decoder: (text: string) => T): T {
  try {
    return decoder(text);
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    throw new StoreError(`the answer of the server of -remote cannot be read: ${cause.message}`, {
      cause,
    });
  }
}
