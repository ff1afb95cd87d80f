import { ConflictError, type Cursor, type NetworkStore, StoreError } from "../../store/mod.ts";
import type { WatchItem, WatchOptions } from "../../store/mod.ts";
import type { AgentMetrics } from "./agent_metrics.ts";

/** Recorder of a store's work. */
export type StoreNotes = Pick<AgentMetrics, "call" | "watching" | "arrived">;

/** Methods without a round trip. */
const UNTIMED = new Set<string | symbol>(["reconnect", Symbol.asyncDispose]);

/** Wraps a store, with all its methods, and records its calls and its watch. */
export function observedStore(store: NetworkStore, notes: StoreNotes): NetworkStore {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      // A method of the proxy could not reach the store's private members.
      if (UNTIMED.has(name)) return member.bind(target);
      if (name === "watch") {
        return (cursor: Cursor, options: WatchOptions) =>
          observedWatch(target, cursor, options, notes);
      }
      return (...args: unknown[]) =>
        notes.call(String(name), isFailure, () => member.apply(target, args));
    },
  });
}

async function* observedWatch(
  store: NetworkStore,
  cursor: Cursor,
  options: WatchOptions,
  notes: StoreNotes,
): AsyncGenerator<WatchItem> {
  const onState = (error: Error | undefined) => {
    notes.watching(error);
    options.onState?.(error);
  };
  notes.watching();
  for await (const item of store.watch(cursor, { ...options, onState })) {
    notes.arrived(item.type === "resync" ? ["resync"] : item.changes.map(({ type }) => type));
    yield item;
  }
}

/** True for a failure: a conflict is an answer, and an aborted call failed for the caller's reason. */
function isFailure(error: unknown): boolean {
  return error instanceof StoreError && !(error instanceof ConflictError);
}
