import type { LeaseForm } from "../../lease/mod.ts";
import { StoreError } from "../errors.ts";
import { WireError } from "./protocol.ts";
import type { Change, Cursor, Snapshot, Store } from "../store.ts";

/** What came of one long poll. */
export type PollResult =
  | { readonly changes: readonly Change[]; readonly cursor: Cursor }
  | { readonly reason: string; readonly snapshot: Snapshot };

/** One way to speak with a server: its whole store, or flannel 0.7.1's protocol. */
export interface RemoteSession extends
  Pick<
    Store,
    | "snapshot"
    | "lease"
    | "createLease"
    | "updateLease"
    | "removeLease"
    | "agent"
    | "putAgent"
    | "removeAgent"
    | "putConfig"
    | "removeConfig"
    | "assignLease"
  > {
  readonly leaseForm: LeaseForm;
  /** Makes one long poll from `cursor`. */
  poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult>;
}

/** Reads what a server answered. @throws {StoreError} when that cannot be read */
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
