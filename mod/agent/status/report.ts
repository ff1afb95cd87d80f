import type { NetworkStatus, NetworkTraffic } from "../../../backends/backend.ts";
import { hideSecrets } from "../../config/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Lease, leaseKey } from "../../lease/mod.ts";
import { VERSION } from "../../version.ts";
import {
  type AgentStatus,
  type BackendReport,
  type LeaseReport,
  type NetworkReport,
  type PeerReport,
  type RoundTripReport,
  STATUS_VERSION,
  type StoreReport,
  type WarningReport,
} from "./status.ts";
import { NO_GUARD } from "../firewall/source_policy.ts";
import type { PeerProbe, PeerRecord, RoundTrip } from "./peer_probe.ts";
import { peerLeases } from "./peers.ts";
import type { AgentView, StatusSource } from "./view.ts";

/** Options of {@linkcode collectStatus}. */
export interface CollectOptions {
  /** Reasons for which `/healthz` fails. */
  readonly unhealthy: readonly string[];
  readonly probe: PeerProbe;
  /** How many peers to list of each network. */
  readonly peers: number;
  /** Read the hosts' names and versions from the store. @default true */
  readonly withHosts?: boolean;
}

/** Collects the status of this moment: for `/status`, `flanneld status` and `/metrics`. */
export async function collectStatus(
  source: StatusSource,
  options: CollectOptions,
): Promise<AgentStatus> {
  return {
    statusVersion: STATUS_VERSION,
    time: new Date().toISOString(),
    agent: {
      version: VERSION,
      runtime: `Deno ${Deno.version.deno}`,
      pid: Deno.pid,
      hostname: Deno.hostname(),
      started: date(performance.timeOrigin),
      uptimeSeconds: Math.round(performance.now()) / 1000,
      residentBytes: Deno.memoryUsage().rss,
    },
    unhealthy: options.unhealthy,
    ready: source.isReady(),
    networks: await Promise.all(source.views().map((view) => networkReport(view, options))),
    waiting: source.waiting().map(({ name, subnetFile, warning }) => ({
      ...{ name, subnetFile },
      warning: warning === undefined ? null : warningReport(warning),
    })),
  };
}

async function networkReport(
  view: AgentView,
  { probe, peers, withHosts = true }: CollectOptions,
): Promise<NetworkReport> {
  const { name, active, external, known, metrics, lease, warnings, isReady } = view;
  const status = active?.network.status();
  const traffic = status?.traffic?.();
  const paths = status?.paths;
  const leases = peerLeases(view);
  const listed = leases.slice(0, peers);
  const records = withHosts && listed.length > 0 ? await probe.records(view) : new Map();
  return {
    name,
    state: warnings.length > 0 ? "warning" : isReady ? "ready" : "waiting",
    warnings: warnings.map(warningReport),
    network: active === undefined ? null : String(active.config.network),
    config: "text" in known.config ? hideSecrets(known.config.text) : null,
    store: storeReport(view),
    host: {
      publicIP: formatIPv4(external.publicIP),
      interface: external.name,
      address: formatIPv4(external.address),
      mtu: external.mtu,
    },
    backend: backendReport(view, status),
    lease: lease === undefined ? null : leaseReport(view, lease),
    subnetFile: view.subnetFile,
    peers: {
      count: status?.peers ?? 0,
      refused: status?.refused.size ?? 0,
      omitted: leases.length - listed.length,
      list: listed.map((peer) =>
        peerReport(peer, { name, status, paths, traffic, records, probe })
      ),
    },
    traffic: traffic === undefined ? null : { ...traffic.total, drops: traffic.drops },
    repairs: {
      total: metrics.repairs.total,
      byKind: Object.fromEntries(metrics.repairs.entries()),
      recent: metrics.recentRepairs.map(({ time, what }) => ({ time: date(time), what })).reverse(),
    },
  };
}

function warningReport({ since, message }: AgentView["warnings"][number]): WarningReport {
  return { since: date(since), message };
}

function storeReport({ store, metrics }: AgentView): StoreReport {
  const { watch, lastChange, calls } = metrics;
  const all = [...calls.values()];
  return {
    name: store.name,
    watching: watch !== undefined && watch.error === undefined,
    lastChange: lastChange === undefined ? null : date(lastChange),
    since: fromNow(watch?.since ?? 0),
    calls: all.reduce((sum, { durations }) => sum + durations.count, 0),
    errors: all.reduce((sum, { errors }) => sum + errors, 0),
  };
}

function backendReport(
  { active, sources }: AgentView,
  status: NetworkStatus | undefined,
): BackendReport | null {
  if (active === undefined || status === undefined) return null;
  return {
    type: active.config.backend.type,
    device: status.device ?? null,
    mtu: active.network.mtu,
    features: status.features ?? null,
    outsideSources: sources === undefined
      ? null
      : { refused: sources.isStrict, guarded: sources !== NO_GUARD, reason: sources.reason },
    ...(status.routeTables === undefined
      ? {}
      : { routeTables: Object.fromEntries(status.routeTables) }),
  };
}

function leaseReport({ term }: AgentView, { subnet }: Lease): LeaseReport {
  const at = (time: number | undefined) => time === undefined ? null : fromNow(time);
  return {
    subnet: String(subnet),
    expires: at(term?.expiry),
    renewal: at(term?.renewal),
    since: fromNow(term?.since ?? performance.now()),
  };
}

/** Sources of a peer's report. */
interface PeerContext {
  readonly name: string;
  readonly status: NetworkStatus | undefined;
  /** Computed for each status. */
  readonly paths: ReadonlyMap<string, string> | undefined;
  readonly traffic: NetworkTraffic | undefined;
  readonly records: ReadonlyMap<number, PeerRecord>;
  readonly probe: PeerProbe;
}

function peerReport({ subnet, attributes }: Lease, context: PeerContext): PeerReport {
  const { name, status, paths, traffic, records, probe } = context;
  const { publicIP, backendType } = attributes;
  const record = records.get(publicIP);
  return {
    subnet: String(subnet),
    publicIP: formatIPv4(publicIP),
    backend: backendType ?? "udp",
    refused: status?.refused.get(leaseKey(subnet)) ?? null,
    path: paths?.get(String(subnet)) ?? null,
    hostname: record?.hostname ?? null,
    version: record?.version ?? null,
    traffic: traffic?.peers?.get(publicIP) ?? null,
    roundTrip: roundTripReport(probe.roundTrip(name, String(subnet))),
  };
}

function roundTripReport(trip: RoundTrip | undefined): RoundTripReport | null {
  // The first request is pending.
  if (trip === undefined || trip.sent === 0) return null;
  const rounded = (ms: number | undefined) =>
    ms === undefined ? null : Math.round(ms * 1000) / 1000;
  return {
    lastMs: rounded(trip.last),
    bestMs: rounded(trip.best),
    sent: trip.sent,
    lost: trip.lost,
    time: date(trip.time),
  };
}

function date(time: number): string {
  return new Date(time).toISOString();
}

/** A time of performance.now() as a date. */
function fromNow(time: number): string {
  return date(Date.now() + time - performance.now());
}
