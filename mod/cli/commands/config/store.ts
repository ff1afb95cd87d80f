import { openPresent } from "../../../agent/commands/open_present.ts";
import {
  type CallOptions,
  type NetworkStore,
  type Snapshot,
  StoreError,
} from "../../../store/mod.ts";
import { openStore } from "../../../store/open.ts";
import type { EtcdStoreOptions, StoreOptions } from "../../../store/options.ts";

/** Limit for one call to the store. */
const LIMIT_MS = 10_000;

/** A store, and its content when it was opened. */
export interface FoundConfig extends AsyncDisposable {
  readonly store: NetworkStore;
  readonly snapshot: Snapshot;
  /** Which store was chosen, and why. */
  readonly note: string;
}

/**
 * Opens the store of the network and reads its content.
 *
 * @param forWriting choose a store also where none has a config yet, and create a file that is missing
 * @param readOnly nothing will be written
 * @throws {StoreError} when there is no config (unless `forWriting`), when it is not clear in which store one
 * belongs, or when the store does not answer
 */
export async function findConfig(
  options: StoreOptions,
  signal: AbortSignal,
  { forWriting = false, readOnly = false } = {},
): Promise<FoundConfig> {
  const opened = await inTime(
    signal,
    (call) =>
      readOnly || forWriting
        ? openStore(options, { ...call, readOnly })
        : openPresent(options, call),
  );
  if ("store" in opened) return await look(opened.store, opened.note, signal);
  if (!forWriting || options.kind !== "etcd") {
    throw new StoreError(`there is no network config: ${opened.waiting}`);
  }
  return await chooseApi(options, signal);
}

/**
 * Runs a call to the store within the time it may take.
 *
 * @throws {StoreError} when it takes longer
 */
export async function inTime<T>(
  signal: AbortSignal,
  call: (options: CallOptions) => Promise<T>,
): Promise<T> {
  const limit = AbortSignal.timeout(LIMIT_MS);
  try {
    return await call({ signal: AbortSignal.any([signal, limit]) });
  } catch (cause) {
    if (signal.aborted || !limit.aborted) throw cause;
    throw new StoreError(`the store has not answered within ${LIMIT_MS / 1000} s`, { cause });
  }
}

/**
 * Chooses the one of etcd's two stores that agents will read a config from, where neither has one: the only store
 * that answers, else the only store that hosts use.
 */
async function chooseApi(options: EtcdStoreOptions, signal: AbortSignal): Promise<FoundConfig> {
  const [v2, v3] = await Promise.all([ask(options, "v2", signal), ask(options, "v3", signal)]);
  const take = async (chosen: FoundConfig, other: FoundConfig | undefined, why: string) => {
    await other?.[Symbol.asyncDispose]();
    return { ...chosen, note: why };
  };
  if ("error" in v2) {
    if ("error" in v3) throw v3.error;
    return await take(v3, undefined, `Using etcd v3, the only API that answers`);
  }
  if ("error" in v3) {
    return await take(v2, undefined, `Using etcd v2, the only API that answers`);
  }
  const [oldIsUsed, newIsUsed] = [v2, v3].map(({ snapshot }) =>
    snapshot.leases.length + snapshot.agents.length > 0
  );
  if (oldIsUsed !== newIsUsed) {
    return oldIsUsed
      ? await take(v2, v3, "Using etcd v2, where the hosts of this network are")
      : await take(v3, v2, "Using etcd v3, where the hosts of this network are");
  }
  await Promise.all([v2, v3].map((found) => found[Symbol.asyncDispose]()));
  throw new StoreError(
    `etcd has two stores, and ${oldIsUsed ? "hosts of this network are in both" : "neither"}` +
      `${
        oldIsUsed ? "" : ` has anything of this network at ${options.prefix}`
      }: give -etcd-api=v2 ` +
      "where flannel up to 0.17 takes part, which reads nothing else, and -etcd-api=v3 where newer " +
      "flannel does; flanneld finds it in either",
  );
}

type Asked = FoundConfig | { readonly error: StoreError };

async function ask(
  options: EtcdStoreOptions,
  api: "v2" | "v3",
  signal: AbortSignal,
): Promise<Asked> {
  try {
    const opened = await openStore({ ...options, api }, { signal });
    if ("store" in opened) return await look(opened.store, opened.note, signal);
    return { error: new StoreError(opened.waiting) };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return { error };
  }
}

async function look(store: NetworkStore, note: string, signal: AbortSignal): Promise<FoundConfig> {
  try {
    const snapshot = await inTime(signal, (call) => store.snapshot(call));
    return { store, snapshot, note, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
}
