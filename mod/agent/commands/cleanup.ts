import { dirname } from "node:path/posix";
import type { StaleState } from "../../../backends/backend.ts";
import { loadBackend } from "../../../backends/registry.ts";
import { findStaleState } from "../../../backends/stale_state.ts";
import { ConfigError, decodeNetworkConfig, type NetworkConfig } from "../../config/mod.ts";
import { DockerLinks } from "../../docker/kernel.ts";
import { findExportedFiles, type PreviousSubnet, readSubnetEnv } from "../../export/mod.ts";
import { chainTag, openFirewallCleaner } from "../../firewall/mod.ts";
import {
  type ExternalInterface,
  findExternalInterface,
  hostIdentity,
  InterfaceError,
} from "../../host/mod.ts";
import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import { LEASE_TTL } from "../../lease/mod.ts";
import { type NetworkStore, StoreError } from "../../store/mod.ts";
import { openStore } from "../../store/open.ts";
import { Netlink } from "../../sys/mod.ts";
import { previousNetwork } from "../firewall/firewall_spec.ts";
import {
  isBesideOthers,
  type LiveRegistration,
  removeStaleRegistrations,
  servedBeside,
} from "../host/host_registry.ts";
import { hostLockPath, lockHost, refuseRunning } from "../host/host_lock.ts";
import type { AgentOptions } from "../core/options.ts";
import { findLeaseAddress, findRelease } from "./release.ts";
import { findProviderRoutes, PROVIDER_LIMIT } from "./release_routes.ts";
import { openPresent } from "./open_present.ts";
import { handOver, type HandOverRequest } from "./hand_over.ts";
import type { CleanupOptions, Removal } from "./removal.ts";
import { findFeatures } from "../lease/withdrawal.ts";
import { counted } from "../../text/mod.ts";
import { isTimeout } from "../../async/timeout.ts";

/** Limit for the store, in milliseconds: a clean-up must also work when the cluster is gone. */
const STORE_LIMIT = 10_000;

/** Stands for the external interface, on which a device's name does not depend. The MTU leaves space for headers. */
const NO_INTERFACE: ExternalInterface = {
  ...{ name: "", index: 0, mtu: 1500, address: 0, publicIP: 0 },
};

/** The directory that a package or systemd makes for the agent's files. */
const RUNTIME_DIRECTORY = "/run/flannel";

/**
 * Removes an agent's objects of one network from this host: devices, routes, firewall rules, files, and with
 * `release` its lease. It touches no object of other programs, and a second run finds nothing to do.
 *
 * Takes the network from subnet.env, or without that file from the store.
 *
 * @throws {AlreadyRunningError} while an agent runs
 * @throws {SysError | FirewallError | ExportError} when the state of the host cannot be read
 * @throws {InterfaceError | StoreError} when the lease to release cannot be found
 */
export async function cleanUp(agent: AgentOptions, options: CleanupOptions): Promise<void> {
  const { dryRun = false, keepDevice = false, signal } = options;
  if (dryRun) await refuseRunning(agent.subnetFile);
  using _lock = dryRun ? undefined : await lockHost(agent.subnetFile);
  try {
    using netlink = Netlink.open();
    await using opened = new AsyncDisposableStack();
    const former = await readSubnetEnv(agent.subnetFile);
    const removals: Removal[] = [];
    const networks: Prefix[] = former.network === undefined ? [] : [former.network];
    let config: NetworkConfig | undefined;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(STORE_LIMIT)]);
    if (options.release || former.network === undefined) {
      const store = await reach(agent, limit, options.release ?? false);
      if (store !== undefined) {
        opened.use(store);
        config = await configOf(store, limit);
        if (config !== undefined) networks.push(config.network);
        if (options.release) {
          removals.push(...await release(agent, store, former, netlink, options));
        }
      }
    }
    const others = await servedBeside(agent.subnetFile, signal);
    const objects = await kernelObjects(
      ...[agent, netlink, networks, others] as const,
      ...[former.network === undefined ? config : undefined, options] as const,
    );
    // First: peers must stop using the features before this host loses them.
    const isCarried = objects.some(({ kind }) => kind === "programs");
    if (!options.release) {
      removals.unshift(
        ...await features(agent, limit, opened, isCarried ? options.onKept : () => {}),
      );
    }
    if (keepDevice) {
      const leases = async () => {
        const store = await reach(agent, limit, false);
        if (store === undefined) return [];
        return (await opened.use(store).snapshot({ signal: limit })).leases;
      };
      const request: HandOverRequest = { agent, netlink, networks, former, objects, leases };
      removals.push(...await handOver(request, options));
    } else {
      removals.push(...objects.map(({ what, remove }) => ({ what: [what], remove })));
      removals.push(...dockerBridges(netlink, networks, options));
      removals.push(...await firewallRules(agent, former, signal));
      removals.push(...await files(agent.subnetFile, options));
    }
    await removeAll(removals, options);
    if (!dryRun) await removeRuntime(agent);
  } catch (cause) {
    if (signal.aborted || !isTimeout(cause)) throw cause;
    throw new StoreError(
      `the store has not answered within ${
        STORE_LIMIT / 1000
      } s, so the lease is not released and ` +
        "nothing was removed; to clean this host anyway, run this without -release",
      { cause },
    );
  }
}

/** Opens the store; returns `undefined` when it is not found or reached and not required. */
async function reach(
  { store: options }: AgentOptions,
  signal: AbortSignal,
  required: boolean,
): Promise<NetworkStore | undefined> {
  try {
    const found = required
      ? await openPresent(options, { signal })
      : await openStore(options, { signal, readOnly: true });
    if ("store" in found) return found.store;
    if (required) throw new StoreError(found.waiting);
  } catch (error) {
    if (!isStoreFailure(error) || (required && !(error instanceof StoreError))) throw error;
    if (required) throw new StoreError(notReleased((error as Error).message), { cause: error });
  }
  return undefined;
}

function notReleased(why: string): string {
  return `the lease cannot be released, and nothing was removed: ${why}; to clean this host anyway, run ` +
    "this without -release";
}

/** Finds the interface whose public IP identifies this host's lease; subnet.env selects among several. */
async function ownInterface(
  agent: AgentOptions,
  store: NetworkStore,
  { subnet }: PreviousSubnet,
  netlink: Netlink,
  signal: AbortSignal,
): Promise<ExternalInterface> {
  const flags = "give the -iface and -public-ip that the agent runs with";
  const addresses = new Set(netlink.addresses().map(({ address }) => address));
  const leased = subnet === undefined
    ? undefined
    : await findLeaseAddress(store, { subnet, host: hostIdentity(), addresses }, { signal });
  try {
    if (leased?.isOwn && addresses.has(leased.publicIP)) {
      return findExternalInterface({ ifaces: [formatIPv4(leased.publicIP)], regexes: [] }, netlink);
    }
    const external = findExternalInterface(agent.interface, netlink);
    if (leased === undefined || leased.publicIP === external.publicIP) return external;
    if (leased.isOwn) return { ...external, publicIP: leased.publicIP };
    throw new InterfaceError(
      `no lease of ${
        formatIPv4(external.publicIP)
      }; subnet.env has ${subnet}, which is leased to ` +
        formatIPv4(leased.publicIP),
    );
  } catch (cause) {
    if (!(cause instanceof InterfaceError)) throw cause;
    throw new InterfaceError(`${notReleased(cause.message)}; ${flags}`, { cause });
  }
}

async function configOf(
  store: NetworkStore,
  signal: AbortSignal,
): Promise<NetworkConfig | undefined> {
  try {
    const { config } = await store.snapshot({ signal });
    if ("text" in config) return await decodeNetworkConfig(config.text);
  } catch (error) {
    // Without a readable config, subnet.env and flanneld's protocol number identify the objects.
    if (!isStoreFailure(error)) throw error;
  }
  return undefined;
}

function isStoreFailure(error: unknown): boolean {
  return error instanceof StoreError || error instanceof ConfigError || isTimeout(error);
}

async function release(
  agent: AgentOptions,
  store: NetworkStore,
  former: PreviousSubnet,
  netlink: Netlink,
  { onKept, onFailed, signal }: CleanupOptions,
): Promise<readonly Removal[]> {
  const external = await ownInterface(agent, store, former, netlink, signal);
  const request = { publicIP: external.publicIP, host: hostIdentity(), subnet: former.subnet };
  // The lease goes after the provider's routes, so its removal gets the provider's time as well.
  const late = AbortSignal.any([signal, AbortSignal.timeout(STORE_LIMIT + PROVIDER_LIMIT)]);
  const { removals, kept } = await findRelease(store, request, { signal: late });
  kept.forEach(onKept);
  // The holder of a lease that stays may use its route.
  if (kept.length > 0) return removals;
  const formerNetworks = former.network === undefined ? [] : [former.network];
  const routes = await findProviderRoutes(store, external, {
    ...{ formerNetworks, signal, onFailed },
  });
  return [...routes, ...removals];
}

/**
 * Returns the steps that withdraw features of programs in the kernel from the node record; none when the store
 * is unreachable.
 */
async function features(
  agent: AgentOptions,
  signal: AbortSignal,
  opened: AsyncDisposableStack,
  onKept: CleanupOptions["onKept"],
): Promise<Removal[]> {
  try {
    const found = await openPresent(agent.store, { signal });
    if (!("store" in found)) throw new StoreError(found.waiting);
    return await findFeatures(opened.use(found.store), hostIdentity(), { signal });
  } catch (error) {
    if (!isStoreFailure(error)) throw error;
    onKept(
      `the node record's features of these programs: ${(error as Error).message}; for up to ` +
        `${
          LEASE_TTL / 3600
        } h peers may send TCP that upstream flannel's udp does not accept: run this ` +
        "again when the store can be reached",
    );
    return [];
  }
}

/**
 * @param others networks that running agents serve; their objects stay
 * @param config config that names the agent's device when there is no subnet.env
 */
async function kernelObjects(
  agent: AgentOptions,
  netlink: Netlink,
  networks: readonly Prefix[],
  others: readonly LiveRegistration[],
  config: NetworkConfig | undefined,
  { onKept }: CleanupOptions,
): Promise<StaleState[]> {
  const { networkName } = agent;
  const besideOthers = isBesideOthers(agent, others);
  const own = networks.filter((one) => !others.some(({ network }) => network.overlaps(one)));
  // flanneld's protocol number would select the objects of all networks.
  if (besideOthers && own.length === 0) {
    if (networkName === undefined) others.forEach(({ holder }) => onKept(ofOther(holder)));
    return [];
  }
  const device = config === undefined || besideOthers ? undefined : await deviceOf(config, netlink);
  return await findStaleState(netlink, own, { besideOthers, own: device });
}

/** Returns the device name of a config when the host has a single agent. */
async function deviceOf(config: NetworkConfig, netlink: Netlink): Promise<string | undefined> {
  try {
    const backend = await loadBackend(config.backend.type);
    return backend.inspect({ config, netlink, external: NO_INTERFACE, formerNetworks: [] })
      .tunnel.device;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function ofOther(holder: string): string {
  return `the kernel objects of ${holder}, which runs: to remove them as well, stop it and run this ` +
    "again with its -subnet-file or -subnet-dir";
}

/** Returns the steps that remove bridges of Docker's networks. One with containers stays, as Docker's own do. */
function dockerBridges(
  netlink: Netlink,
  networks: readonly Prefix[],
  { onKept }: CleanupOptions,
): Removal[] {
  return new DockerLinks(netlink).bridgesIn(networks).flatMap(({ link, containers }) => {
    const what = `device ${link.name} (${link.alias})`;
    if (containers === 0) {
      return [{
        what: [what],
        remove: () => void netlink.deleteLink(link.index),
      }];
    }
    onKept(`${what}: ${counted(containers, "container")} on it; stop them and run this again`);
    return [];
  });
}

async function firewallRules(
  { networkName, subnetFile }: AgentOptions,
  former: PreviousSubnet,
  signal: AbortSignal,
): Promise<Removal[]> {
  const firewall = await openFirewallCleaner(
    previousNetwork(former),
    { signal },
    chainTag(networkName, subnetFile),
  );
  const rules = (await firewall.check()).map((line) => `firewall rule ${line.replace(/^- /, "")}`);
  if (rules.length === 0) return [];
  return [{ what: rules, remove: async () => void await firewall.ensure() }];
}

async function files(subnetFile: string, { onKept }: CleanupOptions): Promise<Removal[]> {
  const removals: Removal[] = [];
  for (const { path, foreign } of await findExportedFiles(subnetFile)) {
    if (foreign !== undefined) onKept(`file ${path}: ${foreign}`);
    else removals.push({ what: [`file ${path}`], remove: () => Deno.remove(path) });
  }
  return removals;
}

async function removeAll(
  removals: readonly Removal[],
  { dryRun = false, signal, onDone, onFailed }: CleanupOptions,
): Promise<void> {
  for (const { what, verb = "remove", remove } of removals) {
    signal.throwIfAborted();
    try {
      if (!dryRun) await remove();
      for (const one of what) onDone(one, verb);
    } catch (error) {
      onFailed(`${what.join(", ")}: ${(error as Error).message}`, verb);
    }
  }
}

/** Removes the lock file while this process holds it, a stale socket, and directories that are then empty. */
async function removeRuntime({ subnetFile, status: { socket } }: AgentOptions): Promise<void> {
  await Deno.remove(hostLockPath(subnetFile)).catch(() => {});
  if (socket !== undefined) {
    const { removeStaleSocket } = await import("../../observe/serve/unix_server.ts");
    // A failure does no harm: a stale socket has no function.
    await removeStaleSocket(socket).catch(() => {});
  }
  await removeStaleRegistrations();
  for (const directory of [dirname(subnetFile), dirname(dirname(subnetFile))]) {
    if (directory !== RUNTIME_DIRECTORY && dirname(directory) !== RUNTIME_DIRECTORY) continue;
    // Fails when other programs have files in it.
    await Deno.remove(directory).catch(() => {});
  }
}
