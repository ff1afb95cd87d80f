import { dirname } from "node:path/posix";
import { findLeftovers, type Leftover } from "../../../backends/leftovers.ts";
import { chooseDevice } from "../../../backends/udp/device_name.ts";
import { vxlanOptions } from "../../../backends/vxlan/options.ts";
import { ConfigError, decodeNetworkConfig, type NetworkConfig } from "../../config/mod.ts";
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
import { type Store, StoreError } from "../../store/mod.ts";
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
import type { Removal, RemovalVerb } from "./removal.ts";
import { findFeatures } from "../lease/withdrawal.ts";

/** How long the store may take, in milliseconds: a host is also cleaned of a cluster that is gone. */
const STORE_LIMIT = 10_000;

/** Any MTU that leaves room for vxlan's headers, in bytes. */
const ETHERNET_MTU = 1500;

/** The directory that a package or systemd makes for the agent's files. */
const RUNTIME_DIRECTORY = "/run/flannel";

/** Options of {@linkcode cleanUp}. */
export interface CleanupOptions {
  /** Change nothing, only tell. @default false */
  readonly dryRun?: boolean;
  /** Give the lease back and remove the agent's record. @default false */
  readonly release?: boolean;
  /**
   * Leave what flannel 0.7.1 takes over, in the form that it knows: the device, the routes, the accepting
   * firewall rules, the files. Not together with `release`.
   *
   * @default false
   */
  readonly keepDevice?: boolean;
  readonly signal: AbortSignal;
  /** Called with what was removed, added or changed, or in a dry run would be. */
  readonly onDone: (what: string, verb: RemovalVerb) => void;
  /** Told what looks like ours, or was asked to go, and stays; with the reason. */
  readonly onKept: (what: string) => void;
  /** Told what could not be removed; the rest is removed all the same. */
  readonly onFailed: (message: string, verb?: RemovalVerb) => void;
}

/**
 * Takes away what an agent left on this host for one network: devices, routes, firewall rules, files,
 * and when asked its lease. Nothing of others is touched, and a second run finds nothing to do.
 *
 * The network is known from subnet.env, and where that is missing, from the store.
 *
 * @throws {AlreadyRunningError} while an agent runs
 * @throws {SysError | FirewallError | ExportError} when the host cannot be looked into
 * @throws {InterfaceError | StoreError} when the lease is to be released and cannot be found out
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
    const objects = kernelObjects(
      ...[agent, netlink, networks, others] as const,
      ...[former.network === undefined ? config : undefined, options] as const,
    );
    // First of all: peers are to send otherwise before nothing takes what they send.
    const isCarried = objects.some(({ kind }) => kind === "path");
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
        "nothing was removed; without -release this host can be cleaned all the same",
      { cause },
    );
  }
}

/** The store; `undefined` when it cannot be told or reached, and does not have to be. */
async function reach(
  { store: options }: AgentOptions,
  signal: AbortSignal,
  required: boolean,
): Promise<Store | undefined> {
  try {
    const found = required
      ? await openPresent(options, { signal })
      : await openStore(options, { signal, readOnly: true });
    if ("store" in found) return found.store;
    if (required) throw new StoreError(found.waiting);
  } catch (error) {
    if (!isStoreTrouble(error) || (required && !(error instanceof StoreError))) throw error;
    if (required) throw new StoreError(notReleased((error as Error).message), { cause: error });
  }
  return undefined;
}

function notReleased(why: string): string {
  return `the lease cannot be released, and nothing was removed: ${why}; without -release this host ` +
    "can be cleaned all the same";
}

/** Our own address is what tells our lease from others'; subnet.env tells which of several it is. */
async function ownInterface(
  agent: AgentOptions,
  store: Store,
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
      }; subnet.env says ${subnet}, which is leased to ` +
        formatIPv4(leased.publicIP),
    );
  } catch (cause) {
    if (!(cause instanceof InterfaceError)) throw cause;
    throw new InterfaceError(`${notReleased(cause.message)}; ${flags}`, { cause });
  }
}

async function configOf(store: Store, signal: AbortSignal): Promise<NetworkConfig | undefined> {
  try {
    const { config } = await store.snapshot({ signal });
    if ("text" in config) return await decodeNetworkConfig(config.text);
  } catch (error) {
    // Without a config that can be read, subnet.env and our protocol number have to do.
    if (!isStoreTrouble(error)) throw error;
  }
  return undefined;
}

function isStoreTrouble(error: unknown): boolean {
  return error instanceof StoreError || error instanceof ConfigError || isTimeout(error);
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

async function release(
  agent: AgentOptions,
  store: Store,
  former: PreviousSubnet,
  netlink: Netlink,
  { onKept, onFailed, signal }: CleanupOptions,
): Promise<readonly Removal[]> {
  const external = await ownInterface(agent, store, former, netlink, signal);
  const request = { publicIP: external.publicIP, host: hostIdentity(), subnet: former.subnet };
  // The store has just answered; the lease is removed when the provider has done its part.
  const late = AbortSignal.any([signal, AbortSignal.timeout(STORE_LIMIT + PROVIDER_LIMIT)]);
  const { removals, kept } = await findRelease(store, request, { signal: late });
  kept.forEach(onKept);
  // Whose lease stays may use its route.
  if (kept.length > 0) return removals;
  const formerNetworks = former.network === undefined ? [] : [former.network];
  const routes = await findProviderRoutes(store, external, {
    ...{ formerNetworks, signal, onFailed },
  });
  return [...routes, ...removals];
}

/**
 * What the store says of programs in the kernel, which a reboot takes away as well, where it can be
 * reached; cleaning goes on without.
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
    if (!isStoreTrouble(error)) throw error;
    onKept(
      `in the store what peers know of these programs: ${(error as Error).message}; for up to ` +
        `${LEASE_TTL / 3600} h they may send TCP that flannel's own udp does not take: run this ` +
        "again with the agent's flags when the store can be reached",
    );
    return [];
  }
}

/**
 * @param others networks that running agents serve; their objects stay
 * @param config config that names the agent's device when there is no subnet.env
 */
function kernelObjects(
  agent: AgentOptions,
  netlink: Netlink,
  networks: readonly Prefix[],
  others: readonly LiveRegistration[],
  config: NetworkConfig | undefined,
  { onKept }: CleanupOptions,
): Leftover[] {
  const { networkName } = agent;
  const besideOthers = isBesideOthers(agent, others);
  const own = networks.filter((one) => !others.some(({ network }) => network.overlaps(one)));
  // Our protocol number would name the objects of all networks.
  if (besideOthers && own.length === 0) {
    if (networkName === undefined) others.forEach(({ holder }) => onKept(ofOther(holder)));
    return [];
  }
  const device = config === undefined || besideOthers ? undefined : deviceOf(config, netlink);
  return findLeftovers(netlink, own, { besideOthers, own: device });
}

/** The device that the lone agent of a host has with a config. */
function deviceOf(config: NetworkConfig, netlink: Netlink): string | undefined {
  const { type, options } = config.backend;
  if (type === "udp") return chooseDevice(netlink, { config, formerNetworks: [] }, new Set());
  if (type !== "vxlan") return undefined;
  try {
    return `flannel.${vxlanOptions(options, ETHERNET_MTU).vni}`;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function ofOther(holder: string): string {
  return `what ${holder} has in the kernel: it runs; to clean the host of that, too, stop it and run ` +
    "this again with its flags";
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

/** The lock, while we hold it, a dead agent's socket, and the directory that is then empty. */
async function removeRuntime({ subnetFile, status: { socket } }: AgentOptions): Promise<void> {
  await Deno.remove(hostLockPath(subnetFile)).catch(() => {});
  if (socket !== undefined) {
    const { removeStaleSocket } = await import("../../observe/serve/unix_server.ts");
    // One of an agent that was killed; it means nothing by itself.
    await removeStaleSocket(socket).catch(() => {});
  }
  await removeStaleRegistrations();
  for (const directory of [dirname(subnetFile), dirname(dirname(subnetFile))]) {
    if (directory !== RUNTIME_DIRECTORY && dirname(directory) !== RUNTIME_DIRECTORY) continue;
    // Not empty: somebody else's file keeps it.
    await Deno.remove(directory).catch(() => {});
  }
}
