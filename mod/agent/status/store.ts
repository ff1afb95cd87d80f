import { ConflictError, type Cursor, type Store, StoreError } from "../../store/mod.ts";
import type { WatchItem, WatchOptions } from "../../store/mod.ts";
import type { AgentMetrics } from "./agent_metrics.ts";

/** Where a store's work is noted. */
export type StoreNotes = Pick<AgentMetrics, "call" | "watching" | "arrived">;

/** Methods that are no round trip. */
const UNTIMED = new Set<string | symbol>(["reconnect", Symbol.asyncDispose]);

/** A store whose calls and watch are noted; otherwise as the one behind it, whatever methods that has. */
export function observedStore(store: Store, notes: StoreNotes): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      // Its private members are the store's, not the proxy's.
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
  store: Store,
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

/** A conflict is an answer, and who gave the call up knows why. */
function isFailure(error: unknown): boolean {
  return error instanceof StoreError && !(error instanceof ConflictError);
}
