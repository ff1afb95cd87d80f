import type { AgentOptions } from "../../agent/core/options.ts";
import type { EtcdStoreOptions } from "../../store/options.ts";

/** The options of etcd, which must be the store that is chosen. */
export function etcdOf({ store }: AgentOptions): EtcdStoreOptions {
  if (store.kind !== "etcd") throw new TypeError(`the store is ${store.kind}`);
  return store;
}
