/**
 * Stores as tests open them: one network over a chosen adapter.
 *
 * @module
 */
import type { EtcdV3ClientOptions } from "../etcd/v3/client.ts";
import { openEtcdV2 as openEtcdV2Kv } from "../etcd/v2/etcd_v2.ts";
import { openEtcdV3 as openEtcdV3Kv } from "../etcd/v3/etcd_v3.ts";
import type { WatchTiming } from "../etcd/v2/watch_position.ts";
import type { Kv } from "../kv/kv.ts";
import type { NetworkNames } from "../network_names.ts";
import { NetworkStore } from "../network_store.ts";
import { openNetworkNames, type OpenOptions, openStore } from "../open.ts";
import type {
  EmbeddedStoreOptions,
  EtcdOptions,
  RemoteStoreOptions,
  StoreOptions,
} from "../options.ts";

export async function openEtcdV2(
  options: EtcdOptions,
  timing?: Partial<WatchTiming>,
): Promise<NetworkStore> {
  return networkOf(await openEtcdV2Kv(options, timing), options);
}

export async function openEtcdV3(
  options: EtcdOptions,
  clientOptions?: EtcdV3ClientOptions,
): Promise<NetworkStore> {
  return networkOf(await openEtcdV3Kv(options, clientOptions), options);
}

/** Makes a network's store of an adapter of etcd. */
export function networkOf(kv: Kv, { prefix }: Pick<EtcdOptions, "prefix">): NetworkStore {
  return new NetworkStore(kv, { prefix, name: `${kv.name}, prefix ${prefix}` });
}

export function openEmbedded(
  options: EmbeddedStoreOptions,
  how?: OpenOptions,
): Promise<NetworkStore> {
  return storeOf(options, how);
}

export function openRemote(options: RemoteStoreOptions): Promise<NetworkStore> {
  return storeOf(options);
}

/** Opens the names of the networks of a store. */
export async function openNames(
  options: StoreOptions,
  how: OpenOptions = {},
): Promise<NetworkNames> {
  const opened = await openNetworkNames(options, how);
  if ("names" in opened) return opened.names;
  throw new Error(opened.waiting);
}

async function storeOf(options: StoreOptions, how: OpenOptions = {}): Promise<NetworkStore> {
  const opened = await openStore(options, how);
  if ("store" in opened) return opened.store;
  throw new Error(opened.waiting);
}
