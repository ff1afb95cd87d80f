import { Exposition, EXPOSITION_TYPE, type Labels } from "../../observe/exposition.ts";
import { logCounts } from "../../observe/mod.ts";
import type { AgentMetrics } from "./agent_metrics.ts";
import type { AgentStatus, NetworkReport, TrafficCounts } from "./status.ts";

/**
 * Renders the answer to `/metrics`. docs/reference/metrics.md is generated from it.
 *
 * @param status with the peers that have series of their own
 * @param metrics histograms and counters of each network's agent, by the network's name
 */
export function metricsPage(
  status: AgentStatus,
  metrics: ReadonlyMap<string, AgentMetrics>,
): Response {
  const page = new Exposition();
  writeProcess(page, status);
  for (const network of status.networks) {
    const labels: Labels = network.name === "" ? {} : { network: network.name };
    writeNetwork(page, network, status.time, labels);
    writeTraffic(page, network, labels);
    const own = metrics.get(network.name);
    if (own !== undefined) writeWork(page, own, labels);
  }
  return new Response(page.toString(), { headers: { "content-type": EXPOSITION_TYPE } });
}

function writeProcess(page: Exposition, { agent, unhealthy, ready }: AgentStatus): void {
  page.gauge("flanneld_build_info", "1, with the version as a label.", 1, {
    version: agent.version,
    runtime: agent.runtime,
  });
  page.gauge(
    "process_start_time_seconds",
    "Start of the process since the Unix epoch, in seconds.",
    Date.parse(agent.started) / 1000,
  );
  page.gauge(
    "process_resident_memory_bytes",
    "Resident memory of the process.",
    agent.residentBytes,
  );
  for (const [level, count] of Object.entries(logCounts())) {
    page.counter("flanneld_log_lines_total", "Lines logged, suppressed ones included.", count, {
      level,
    });
  }
  page.gauge("flanneld_healthy", "1 when /healthz answers 200.", unhealthy.length === 0 ? 1 : 0);
  page.gauge("flanneld_ready", "1 when /readyz answers 200.", ready ? 1 : 0);
}

function writeNetwork(
  page: Exposition,
  { network, backend, lease, host, peers, store, warnings }: NetworkReport,
  time: string,
  labels: Labels,
): void {
  const until = (date: string) => (Date.parse(date) - Date.parse(time)) / 1000;
  if (network !== null && backend !== null) {
    page.gauge("flanneld_network_info", "1, with the network on this host as labels.", 1, {
      ...labels,
      range: network,
      subnet: lease?.subnet ?? "",
      backend: backend.type,
      device: backend.device ?? "",
      interface: host.interface,
      public_ip: host.publicIP,
    });
    page.gauge("flanneld_mtu_bytes", "MTU for containers.", backend.mtu, labels);
    page.gauge("flanneld_peers", "Peers that packets are carried to.", peers.count, labels);
    page.gauge("flanneld_refused_peers", "Leases that are refused.", peers.refused, labels);
  }
  if (lease !== null) {
    const age = -until(lease.since);
    page.gauge("flanneld_lease_age_seconds", "Since the lease was last written.", age, labels);
    if (lease.expires !== null) {
      page.gauge(
        "flanneld_lease_expiry_seconds",
        "Until the lease expires; absent for a reservation.",
        until(lease.expires),
        labels,
      );
    }
    if (lease.renewal !== null) {
      page.gauge(
        "flanneld_lease_renewal_seconds",
        "Until the lease is to be renewed; negative when the renewal is overdue.",
        until(lease.renewal),
        labels,
      );
    }
  }
  page.gauge("flanneld_warnings", "Warnings now; /status lists them.", warnings.length, labels);
  page.gauge(
    "flanneld_watch_up",
    "1 while the store's changes are followed.",
    store.watching ? 1 : 0,
    labels,
  );
  page.gauge(
    "flanneld_watch_down_seconds",
    "Since the store's changes could last be followed; 0 while they are.",
    store.watching ? 0 : -until(store.since),
    labels,
  );
}

function writeTraffic(page: Exposition, { traffic, peers }: NetworkReport, labels: Labels): void {
  if (traffic !== null) {
    writeCounts(page, "flanneld_", "all peers", traffic, labels);
    for (const [reason, count] of Object.entries(traffic.drops)) {
      page.counter("flanneld_dropped_packets_total", "Packets dropped, by reason.", count, {
        ...labels,
        reason: snakeCase(reason),
      });
    }
  }
  page.gauge(
    "flanneld_peers_without_series",
    "Peers without series: there are more than -metrics-peers.",
    peers.omitted,
    labels,
  );
  for (const { subnet, publicIP, traffic, roundTrip } of peers.list) {
    const peer = { ...labels, subnet, public_ip: publicIP };
    if (traffic !== null) writeCounts(page, "flanneld_peer_", "the peer's host", traffic, peer);
    if (roundTrip === null) continue;
    const { lastMs, sent, lost } = roundTrip;
    if (lastMs !== null) {
      page.gauge(
        "flanneld_peer_round_trip_seconds",
        "Of the last echo request through the overlay; absent when it was lost.",
        lastMs / 1000,
        peer,
      );
    }
    page.counter(
      "flanneld_peer_echoes_total",
      "Echo requests sent since probing began.",
      sent,
      peer,
    );
    page.counter("flanneld_peer_lost_echoes_total", "Echo requests without a reply.", lost, peer);
  }
}

/** Writes what only the instruments have: histograms, and counters of the agent's own work. */
function writeWork(page: Exposition, metrics: AgentMetrics, labels: Labels): void {
  for (const [call, { durations, errors }] of metrics.calls) {
    page.histogram("flanneld_store_call_seconds", "Round trips to the store, by call.", durations, {
      ...labels,
      call,
    });
    page.counter("flanneld_store_errors_total", "Calls to the store that failed.", errors, {
      ...labels,
      call,
    });
  }
  for (const [type, count] of metrics.changes.entries()) {
    page.counter("flanneld_watch_changes_total", "Changes that the store reported.", count, {
      ...labels,
      type,
    });
  }
  page.histogram(
    "flanneld_watch_lag_seconds",
    "From a change's arrival until the kernel had it.",
    metrics.lag,
    labels,
  );
  for (const [kind, durations] of Object.entries(metrics.reconciliations)) {
    page.histogram(
      "flanneld_reconcile_seconds",
      "Reconciling the kernel: all objects (sync) or those that changed (change).",
      durations,
      { ...labels, kind },
    );
  }
  page.counter(
    "flanneld_refused_objects_total",
    "Objects that the kernel did not take.",
    metrics.refusedObjects,
    labels,
  );
  for (const [kind, count] of metrics.repairs.entries()) {
    page.counter("flanneld_repairs_total", "Repairs, by the kind of damage.", count, {
      ...labels,
      kind,
    });
  }
  const { handling } = metrics;
  page.gauge(
    "flanneld_event_seconds",
    "For how long the current event has been handled; 0 when there is none.",
    handling === undefined ? 0 : (performance.now() - handling.since) / 1000,
    labels,
  );
}

function writeCounts(
  page: Exposition,
  prefix: string,
  whom: string,
  counts: TrafficCounts,
  labels: Labels,
): void {
  const write = (name: string, what: string, count: number) =>
    page.counter(`${prefix}${name}_total`, `${what} ${whom}.`, count, labels);
  write("sent_packets", "Packets of containers sent to", counts.sentPackets);
  write("sent_bytes", "Their bytes, without encapsulation, sent to", counts.sentBytes);
  write("received_packets", "Packets of containers received from", counts.receivedPackets);
  write("received_bytes", "Their bytes, without encapsulation, from", counts.receivedBytes);
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]+/g, (capitals, at) => (at > 0 ? "_" : "") + capitals.toLowerCase());
}
