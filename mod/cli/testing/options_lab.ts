import type { AgentOptions } from "../../agent/core/options.ts";
import type { EtcdStoreOptions } from "../../store/options.ts";
import type { HostPaths } from "../published/agent_of_host.ts";

/** A host without an agent and without a sysconfig file, whatever this machine has. */
export const BARE_HOST: Required<HostPaths> = {
  sysconfig: "/nonexistent/sysconfig",
  options: "/nonexistent/options",
  socketOf: () => "/nonexistent/flanneld.sock",
};

/** The options of etcd, which must be the store that is chosen. */
export function etcdOf({ store }: AgentOptions): EtcdStoreOptions {
  if (store.kind !== "etcd") throw new TypeError(`the store is ${store.kind}`);
  return store;
}
