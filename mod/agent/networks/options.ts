import { StoreError } from "../../store/mod.ts";
import { isNetworkName } from "../../store/network_name.ts";
import { openNetworkNames } from "../../store/open.ts";
import { withNetwork } from "../../store/options.ts";
import type { AgentOptions, NetworksOptions } from "../core/options.ts";

/**
 * Largest number of networks to serve. Each is an agent with a device, and a writer of the store can make any
 * number. The limit does not count networks that the operator has named. A hundred take 160 MB.
 */
export const MOST_NETWORKS = 100;

/** Sorts names by precedence: first the networks that this host has served before. */
export function servedFirst(names: readonly string[], served: ReadonlySet<string>): string[] {
  return [
    ...names.filter((name) => served.has(name)),
    ...names.filter((name) => !served.has(name)),
  ];
}

/** Returns the agent's options for one network of several. */
export function optionsOfNetwork(
  options: AgentOptions,
  { directory, allowed }: NetworksOptions,
  network: string,
): AgentOptions {
  const { networks: _several, ...rest } = options;
  const store = withNetwork(options.store, network);
  const { seed } = options.store.kind === "embedded" ? options.store : {};
  // The seed has one range, which several networks cannot share.
  const isSeeded = store.kind === "embedded" && seed !== undefined && allowed.length === 1;
  return {
    ...rest,
    store: isSeeded ? { ...store, seed } : store,
    subnetFile: `${directory}/${network}.env`,
    networkName: network,
  };
}

/** Returns the names of networks with a subnet file: those that any agent has served on this host. */
export async function subnetFiles(directory: string): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  try {
    for await (const { name, isFile } of Deno.readDir(directory)) {
      const network = name.endsWith(".env") ? name.slice(0, -".env".length) : "";
      if (isFile && isNetworkName(network)) names.add(network);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return names;
}

/**
 * Returns the options of each network that an agent with these options has served on this host: the listed
 * networks, or without a list those with a subnet file. Without `networks` returns the options themselves.
 */
export async function optionsOfServed(options: AgentOptions): Promise<readonly AgentOptions[]> {
  const { networks } = options;
  if (networks === undefined) return [options];
  const names = networks.allowed.length > 0
    ? networks.allowed
    : [...await subnetFiles(networks.directory)].sort();
  return names.map((network) => optionsOfNetwork(options, networks, network));
}

/**
 * Returns the options of each network that an agent with these options would serve now.
 *
 * @throws {StoreError} when the store cannot list the networks
 */
export async function optionsOfWanted(
  options: AgentOptions,
  signal: AbortSignal,
): Promise<readonly AgentOptions[]> {
  const { networks } = options;
  if (networks === undefined) return [options];
  let names = networks.allowed;
  let { store } = options;
  if (networks.watch) {
    const opened = await openNetworkNames(store, { signal, readOnly: true });
    if ("waiting" in opened) throw new StoreError(`failed to retrieve networks: ${opened.waiting}`);
    await using source = opened.names;
    const found = (await source.snapshot({ signal })).names;
    names = names.length > 0
      ? found.filter((name) => names.includes(name)).toSorted()
      : servedFirst(found, await subnetFiles(networks.directory)).slice(0, MOST_NETWORKS)
        .toSorted();
    store = opened.store;
  }
  return names.map((network) => optionsOfNetwork({ ...options, store }, networks, network));
}
