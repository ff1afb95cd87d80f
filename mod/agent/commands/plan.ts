import type { BackendContext, Ingress, SourceCheck } from "../../../backends/backend.ts";
import { describeChange, type DiffLine } from "../../../backends/describe.ts";
import { HostRoutes, readHostTables } from "../../../backends/host_routes.ts";
import { leaseAttributes } from "../../../backends/lease_attributes.ts";
import { loadBackend } from "../../../backends/registry.ts";
import { decodeNetworkConfig, type NetworkConfig } from "../../config/mod.ts";
import {
  formatSubnetEnv,
  type PreviousSubnet,
  readSubnetEnv,
  type SubnetEnv,
} from "../../export/mod.ts";
import {
  type FirewallSpec,
  type HostTool,
  mergeCommands,
  type Obstacle,
  openFirewall,
  type Opening,
  openingCommands,
  openingsOf,
  type OverlayPath,
  PeerSources,
} from "../../firewall/mod.ts";
import { type ExternalInterface, findExternalInterface, hostIdentity } from "../../host/mod.ts";
import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import {
  encodeLeaseValue,
  LEASE_TTL,
  type LeaseAttributes,
  sameAttributes,
  type StoredNodeRecord,
} from "../../lease/mod.ts";
import { warning } from "../../observe/log/log.ts";
import { type NetworkStore, type Snapshot, StoreError } from "../../store/mod.ts";
import { openStore } from "../../store/open.ts";
import { LeaseSet } from "../../subnet/mod.ts";
import { type LeasePlan, planLease } from "../../subnet/plan_lease.ts";
import { DryRunNetlink } from "../../sys/mod.ts";
import { firewallSpec, peersOf, previousNetwork } from "../firewall/firewall_spec.ts";
import { isBesideOthers, readOthers } from "../host/host_registry.ts";
import { isAgentRunning } from "../host/host_lock.ts";
import { leaseElsewhere } from "../lease/elsewhere.ts";
import type { AgentOptions } from "../core/options.ts";
import { overlayPath, peersBeside } from "../core/overlay_path.ts";
import { PeerFeatures } from "../core/peer_features.ts";
import { sourcePeers } from "../firewall/source_control.ts";
import { NO_GUARD, SourcePolicy, type SourceVerdict } from "../firewall/source_policy.ts";
import { requireUsableNetwork } from "../core/usable_network.ts";
import { askStatus, StatusError } from "../status/ask.ts";

/** Limit for the store, in milliseconds. */
const STORE_LIMIT = 10_000;

/** Limit for the running agent's answer, in milliseconds: one that is stopped by SIGSTOP accepts and never answers. */
const STATUS_LIMIT_MS = 2_000;

/** Changes that the agent would make on this host. */
export interface AgentPlan {
  /** Facts that determine the changes, one line each. */
  readonly facts: readonly string[];
  /** Changes to the kernel, the firewall, files and the store. */
  readonly changes: readonly DiffLine[];
  /** Firewall rules of this host that would still drop the network's packets. */
  readonly obstacles: readonly Obstacle[];
  /** Programs that manage this host's firewall. */
  readonly tools: readonly HostTool[];
  /** The commands of one of them that let the network's packets through. */
  readonly toolCommands: (tool: HostTool, hook: Opening["hook"]) => string[];
  /** Changes outside this host, at a cloud provider, and obstacles there. */
  readonly provider: Pick<AgentPlan, "changes"> & { readonly obstacles: readonly string[] };
}

/**
 * Returns the changes that an agent, if started or syncing now, would make on this host and in the store.
 * Runs the agent's own code without changing anything. The agent may be running.
 *
 * @throws {InterfaceError | StoreError | ConfigError | AcquireError | FirewallError | SysError |
 * ProviderError} when the agent could not do its work either
 */
export async function planAgent(options: AgentOptions, signal: AbortSignal): Promise<AgentPlan> {
  using netlink = DryRunNetlink.open();
  const external = findExternalInterface(options.interface, netlink);
  await using store = await reach(options, signal);
  const snapshot = await store.snapshot({ signal });
  const config = await configOf(snapshot, store);
  const tables = readHostTables(netlink);
  await requireUsableNetwork(config.network, { ...options, external, tables });
  const former = await readSubnetEnv(options.subnetFile);
  const agent = snapshot.agents.find(({ publicIP }) => publicIP === external.publicIP);

  const others = await readOthers(options.subnetFile, signal);
  const formerNetworks = [former.network].filter((one) => one !== undefined)
    .filter((one) => !others.some((other) => other.overlaps(one)));
  const features = new PeerFeatures();
  features.replace(snapshot.agents);
  const policy = new SourcePolicy((publicIP) => features.of(publicIP));
  const isSourceStrict = () => policy.isStrict;
  const { network, attributes } = await prepare(options, config, {
    ...{ external, netlink, snapshot, formerNetworks, store, agent, signal, isSourceStrict },
    besideOthers: isBesideOthers(options, others),
  });
  try {
    const elsewhere = leaseElsewhere(snapshot.leases, external, netlink, former.subnet);
    if (elsewhere !== undefined) warning(elsewhere.message, { subnet: elsewhere.subnet });
    const host = new HostRoutes(config.network);
    host.load(tables);
    const lease = planLease(
      ...[config, snapshot.leases, external.publicIP] as const,
      elsewhere === undefined ? former.subnet : undefined,
      host.unusable({
        subnetLen: config.subnetLen,
        former: former.subnet === undefined ? [] : [former.subnet],
        external: external.index,
      }),
    );
    const leases = new LeaseSet();
    leases.replace(snapshot.leases.filter((one) => !lease.misfits.includes(one)));
    const own = { subnet: lease.subnet, attributes, revision: "planned", ttl: LEASE_TTL };
    leases.apply([{ put: own }]);
    const peers = peersOf(leases.values(), config, own);
    policy.replace(sourcePeers(leases.values(), config, own));
    const verdict = await presentSources(options, network.sourceCheck, signal) ??
      policy.verdict(network.sourceCheck);
    policy.isStrict = verdict.isStrict;
    await network.sync(own, leases);
    const programs = formerNetworks.length === 0
      ? []
      : await planRemovals(netlink, [config.network, ...formerNetworks], network.ingress);

    const env: SubnetEnv = {
      ...{ network: config.network, subnet: lease.subnet },
      ...{ mtu: network.mtu, ipMasq: options.ipMasq },
    };
    const provider = { changes: network.planned?.() ?? [], obstacles: network.obstacles?.() ?? [] };
    const { ingress } = network;
    const sources = new PeerSources();
    sources.replace(peers);
    const path = overlayPath({
      ...{ ingress, external, netlink, subnet: lease.subnet },
      peers: peersBeside(own, leases.values()),
    });
    const firewall = await planFirewall(options, config, {
      spec: firewallSpec(options, env, network, isSourceStrict),
      ...{ path, former, signal, peers: sources },
    });
    const isUnguarded = network.sourceCheck?.by === "firewall" && !firewall.isGuarding;
    return {
      facts: [
        ...facts(external, config, lease, firewall.description),
        ...(network.sourceCheck === undefined
          ? []
          : [sourcesFact(isUnguarded ? NO_GUARD : verdict)]),
      ],
      changes: [
        ...recordChanges(agent, external),
        ...leaseChanges(lease, attributes, store),
        ...netlink.changes.flatMap((change) =>
          describeChange(change, (index) => netlink.nameOf(index))
        ),
        ...network.plannedPrograms?.() ?? [],
        ...programs,
        ...provider.changes,
        ...firewall.changes,
        ...await fileChanges(options.subnetFile, formatSubnetEnv(env)),
      ],
      obstacles: firewall.obstacles,
      ...{ tools: firewall.tools, toolCommands: firewall.toolCommands },
      provider,
    };
  } finally {
    await network.close();
  }
}

/**
 * Asks the running agent whether it refuses sources outside the network now: it begins some seconds after its
 * peers ask for it, and the plan is what would change now.
 *
 * @returns `undefined` where an option decides, where the firewall's rules are missing, or no agent answers
 */
async function presentSources(
  { status: { socket }, networkName = "" }: AgentOptions,
  check: SourceCheck | undefined,
  signal: AbortSignal,
): Promise<SourceVerdict | undefined> {
  if (check === undefined || check.fixed !== undefined || socket === undefined) return undefined;
  try {
    const { status } = await askStatus(socket, { peers: "0", signal, timeoutMs: STATUS_LIMIT_MS });
    const { backend } = status.networks.find(({ name }) => name === networkName) ?? {};
    const { refused, guarded, reason } = backend?.outsideSources ?? {};
    if (refused === undefined || reason === undefined || guarded !== true) return undefined;
    return { isStrict: refused, reason };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StatusError) return undefined;
    throw error;
  }
}

/**
 * Plans the removal of devices whose backend or network ended while no agent ran.
 *
 * @returns other changes that follow from the removal
 */
async function planRemovals(
  netlink: DryRunNetlink,
  networks: readonly Prefix[],
  { device }: Ingress,
): Promise<DiffLine[]> {
  const { findStaleState } = await import("../../../backends/stale_state.ts");
  const lines: DiffLine[] = [];
  const old = await findStaleState(netlink, networks, { besideOthers: true, keep: [device] });
  for (const { kind, what, remove } of old) {
    if (kind === "device") remove();
    else if (kind === "programs") lines.push({ sign: "-", text: what });
  }
  return lines;
}

async function reach(options: AgentOptions, signal: AbortSignal): Promise<NetworkStore> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(STORE_LIMIT)]);
  try {
    const opened = await openStore(options.store, { signal: limit, readOnly: true });
    if ("store" in opened) return opened.store;
    throw new StoreError(`failed to retrieve network config: ${opened.waiting}`);
  } catch (cause) {
    if (signal.aborted || !limit.aborted) throw cause;
    throw new StoreError(`the store has not answered within ${STORE_LIMIT / 1000} s`, { cause });
  }
}

async function configOf({ config }: Snapshot, store: NetworkStore): Promise<NetworkConfig> {
  if ("text" in config) return await decodeNetworkConfig(config.text);
  throw new StoreError(`failed to retrieve network config: ${config.missing}, in ${store.name}`);
}

/** Input of {@linkcode prepare}. */
interface Found {
  readonly external: ExternalInterface;
  readonly netlink: DryRunNetlink;
  readonly snapshot: Snapshot;
  readonly formerNetworks: readonly Prefix[];
  readonly besideOthers: boolean;
  readonly store: NetworkStore;
  readonly agent: StoredNodeRecord | undefined;
  readonly isSourceStrict: () => boolean;
  readonly signal: AbortSignal;
}

async function prepare(
  options: AgentOptions,
  config: NetworkConfig,
  { external, netlink, snapshot, store, agent, signal, ...served }: Found,
) {
  const held = agent?.record.machineId === hostIdentity().machineId
    ? snapshot.leases.find(({ attributes }) => attributes.publicIP === external.publicIP)
    : undefined;
  const context: BackendContext & { readonly dryRun: DryRunNetlink } = {
    ...{ config, external, netlink, udp: options.udp, vxlan: options.vxlan, dryRun: netlink },
    signal,
    ...served,
    formerData: held?.attributes.backendData,
  };
  const backend = await loadBackend(config.backend.type);
  const network = await (backend.plan?.(context) ?? backend.prepare(context));
  return { network, attributes: leaseAttributes(backend, network, external, store.leaseForm) };
}

async function planFirewall(
  options: AgentOptions,
  config: NetworkConfig,
  { spec, path, former, peers, signal }: {
    readonly spec: FirewallSpec;
    readonly path: OverlayPath;
    readonly former: PreviousSubnet;
    readonly peers: PeerSources;
    readonly signal: AbortSignal;
  },
) {
  const firewall = await openFirewall(
    spec,
    previousNetwork(former),
    {
      ...{ signal, mode: options.firewall, preferNftables: config.enableNFTables, peers },
      isRunning: await isAgentRunning(options.subnetFile),
    },
  );
  const lines = await firewall.check();
  const { tools, obstacles, firewalld } = await firewall.survey(path);
  return {
    description: firewall.description,
    isGuarding: firewall.isGuarding,
    changes: lines.map((line): DiffLine => ({
      sign: line.startsWith("-") ? "-" : "+",
      text: `firewall ${line.slice(2)}`,
    })),
    obstacles,
    tools,
    toolCommands: (tool: HostTool, hook: Opening["hook"]) => {
      const found = obstacles.filter((one) => one.tool === tool && one.hook === hook);
      // Commands of an obstacle also name firewalld's zone.
      if (found.length > 0) return mergeCommands(found.map(({ commands }) => commands));
      const openings = openingsOf(hook, spec, path, { firewalld });
      return mergeCommands(openings.map((opening) => openingCommands(tool, opening)));
    },
  };
}

function facts(
  { name, address, publicIP, mtu }: ExternalInterface,
  config: NetworkConfig,
  { subnet, reused, isPicked }: LeasePlan,
  firewall: string,
): string[] {
  const other = publicIP === address ? "" : `, public IP ${formatIPv4(publicIP)}`;
  const how = reused !== undefined
    ? "held under this host's public IP"
    : isPicked
    ? "picked from the free ones; the agent may pick another"
    : "had before, and free";
  return [
    `interface ${name} ${formatIPv4(address)}${other}, mtu ${mtu}`,
    `network ${config.network}, backend ${config.backend.type}`,
    `subnet ${subnet}: ${how}`,
    `firewall ${firewall}`,
  ];
}

function sourcesFact({ isStrict, reason }: SourceVerdict): string {
  return `packets from peers with sources outside the network: ${
    isStrict ? "refused" : "accepted"
  } (${reason})`;
}

/** Returns the change of the node record; none when this machine's record is only written again. */
function recordChanges(
  agent: StoredNodeRecord | undefined,
  { publicIP }: ExternalInterface,
): DiffLine[] {
  const { machineId, hostname } = hostIdentity();
  const text = (host: string) => `node record ${formatIPv4(publicIP)} of host ${host}`;
  const own: DiffLine = { sign: "+", text: text(hostname) };
  if (agent === undefined) return [own];
  const { record } = agent;
  if (record.machineId === machineId && record.hostname === hostname) return [];
  const asked = `${
    text(record.hostname)
  }, which is asked first: if it is alive, the agent does not start`;
  return [{ sign: "-", text: asked }, own];
}

function leaseChanges(
  { subnet, reused, misfits }: LeasePlan,
  attributes: LeaseAttributes,
  { leaseForm }: NetworkStore,
): DiffLine[] {
  const text = (subnet: Prefix, value: LeaseAttributes) =>
    `lease ${subnet} ${encodeLeaseValue(value, leaseForm)}`;
  const lines: DiffLine[] = misfits.map((lease) => ({
    sign: "-",
    text: text(lease.subnet, lease.attributes),
  }));
  if (reused !== undefined) {
    if (sameAttributes(reused.attributes, attributes)) return lines;
    lines.push({ sign: "-", text: text(subnet, reused.attributes) });
  }
  return [...lines, { sign: "+", text: text(subnet, attributes) }];
}

async function fileChanges(path: string, after: string): Promise<DiffLine[]> {
  let before = "";
  try {
    before = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const [is, want] = [before, after].map((text) => text.split("\n").filter((line) => line !== ""));
  return [
    ...is!.filter((line) => !want!.includes(line))
      .map((line): DiffLine => ({ sign: "-", text: `file ${path} ${line}` })),
    ...want!.filter((line) => !is!.includes(line))
      .map((line): DiffLine => ({ sign: "+", text: `file ${path} ${line}` })),
  ];
}
