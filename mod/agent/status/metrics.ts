import type { TrafficCounts } from "../../../backends/backend.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { Exposition, EXPOSITION_TYPE, type Labels } from "../../observe/exposition.ts";
import { logCounts } from "../../observe/mod.ts";
import { VERSION } from "../../version.ts";
import type { Inquiry } from "./inquiry.ts";
import type { StatusSource } from "./view.ts";
import { peerLeases } from "./peers.ts";
import type { AgentView } from "./view.ts";

/**
 * The answer to `/metrics`. Names and meaning are in docs/operations.md.
 *
 * @param unhealthy why `/healthz` fails
 */
export function metricsPage(
  source: StatusSource,
  unhealthy: readonly string[],
  inquiry: Inquiry,
): Response {
  const page = new Exposition();
  writeProcess(page);
  page.gauge("flanneld_healthy", "1 when /healthz answers 200.", unhealthy.length === 0 ? 1 : 0);
  page.gauge("flanneld_ready", "1 when /readyz answers 200.", source.isReady() ? 1 : 0);
  for (const view of source.views()) {
    const labels: Labels = view.name === "" ? {} : { network: view.name };
    writeNetwork(page, view, labels);
    writeStore(page, view, labels);
    writeWork(page, view, labels);
    writeTraffic(page, view, labels, inquiry, source.metricsPeers);
  }
  return new Response(page.toString(), { headers: { "content-type": EXPOSITION_TYPE } });
}

function writeProcess(page: Exposition): void {
  page.gauge("flanneld_build_info", "1, with the version as a label.", 1, {
    version: VERSION,
    runtime: `Deno ${Deno.version.deno}`,
  });
  page.gauge(
    "process_start_time_seconds",
    "Start of the process since the Unix epoch, in seconds.",
    performance.timeOrigin / 1000,
  );
  page.gauge(
    "process_resident_memory_bytes",
    "Resident memory of the process.",
    Deno.memoryUsage().rss,
  );
  for (const [level, count] of Object.entries(logCounts())) {
    page.counter("flanneld_log_lines_total", "Lines logged, those left out included.", count, {
      level,
    });
  }
}

function writeNetwork(page: Exposition, view: AgentView, labels: Labels): void {
  const { active, external, lease, term, warnings } = view;
  const now = performance.now();
  if (active !== undefined) {
    const { network, config } = active;
    const { device, peers, refused } = network.status();
    page.gauge("flanneld_network_info", "1, with what this host has of the network as labels.", 1, {
      ...labels,
      range: String(config.network),
      subnet: lease === undefined ? "" : String(lease.subnet),
      backend: config.backend.type,
      device: device ?? "",
      interface: external.name,
      public_ip: formatIPv4(external.publicIP),
    });
    page.gauge("flanneld_mtu_bytes", "MTU for containers.", network.mtu, labels);
    page.gauge("flanneld_peers", "Peers whose packets are carried.", peers, labels);
    page.gauge("flanneld_refused_peers", "Leases that are refused.", refused.size, labels);
  }
  if (lease !== undefined && term !== undefined) {
    const seconds = (time: number) => (time - now) / 1000;
    const age = -seconds(term.since);
    page.gauge("flanneld_lease_age_seconds", "Since the lease was last written.", age, labels);
    if (term.expiry !== undefined) {
      page.gauge(
        "flanneld_lease_expiry_seconds",
        "Until the lease runs out; absent for one that does not.",
        seconds(term.expiry),
        labels,
      );
    }
    if (term.renewal !== undefined) {
      page.gauge(
        "flanneld_lease_renewal_seconds",
        "Until the lease is to be renewed; negative when that is overdue.",
        seconds(term.renewal),
        labels,
      );
    }
  }
  page.gauge(
    "flanneld_troubles",
    "Things that are wrong; /status names them.",
    warnings.length,
    labels,
  );
}

function writeStore(page: Exposition, { vitals }: AgentView, labels: Labels): void {
  for (const [call, { durations, errors }] of vitals.calls) {
    page.histogram("flanneld_store_call_seconds", "Round trips to the store, by call.", durations, {
      ...labels,
      call,
    });
    page.counter("flanneld_store_errors_total", "Calls to the store that failed.", errors, {
      ...labels,
      call,
    });
  }
  const { watch } = vitals;
  if (watch !== undefined) {
    const isUp = watch.error === undefined;
    page.gauge(
      "flanneld_watch_up",
      "1 while the store's changes are followed.",
      isUp ? 1 : 0,
      labels,
    );
    page.gauge(
      "flanneld_watch_down_seconds",
      "Since the store's changes could last be followed; 0 while they are.",
      isUp ? 0 : (performance.now() - watch.since) / 1000,
      labels,
    );
  }
  for (const [type, count] of vitals.changes.entries()) {
    page.counter("flanneld_watch_changes_total", "Changes that the store told of.", count, {
      ...labels,
      type,
    });
  }
  page.histogram(
    "flanneld_watch_lag_seconds",
    "From a change's arrival until the kernel had it.",
    vitals.lag,
    labels,
  );
}

function writeWork(page: Exposition, { vitals }: AgentView, labels: Labels): void {
  for (const [kind, durations] of Object.entries(vitals.reconciliations)) {
    page.histogram(
      "flanneld_reconcile_seconds",
      "Bringing the kernel to what is wanted: all of it (sync) or what changed (change).",
      durations,
      { ...labels, kind },
    );
  }
  page.counter(
    "flanneld_refused_objects_total",
    "Objects that the kernel did not take.",
    vitals.refusedObjects,
    labels,
  );
  for (const [kind, count] of vitals.repairs.entries()) {
    page.counter("flanneld_repairs_total", "Damage that was put right, by what it was.", count, {
      ...labels,
      kind,
    });
  }
  const { handling } = vitals;
  page.gauge(
    "flanneld_event_seconds",
    "For how long the event at hand has been handled; 0 when there is none.",
    handling === undefined ? 0 : (performance.now() - handling.since) / 1000,
    labels,
  );
}

function writeTraffic(
  page: Exposition,
  view: AgentView,
  labels: Labels,
  inquiry: Inquiry,
  most: number,
): void {
  const traffic = view.active?.network.status().traffic?.();
  if (traffic !== undefined) {
    writeCounts(page, "flanneld_", "all peers", traffic.total, labels);
    for (const [reason, count] of Object.entries(traffic.drops)) {
      page.counter("flanneld_dropped_packets_total", "Packets dropped, by reason.", count, {
        ...labels,
        reason: snakeCase(reason),
      });
    }
  }
  const leases = peerLeases(view);
  const omitted = Math.max(0, leases.length - most);
  page.gauge(
    "flanneld_peers_without_series",
    "Peers that have no series here: there are more than -metrics-peers.",
    omitted,
    labels,
  );
  for (const { subnet, attributes: { publicIP } } of leases.slice(0, most)) {
    const peer = { ...labels, subnet: String(subnet), public_ip: formatIPv4(publicIP) };
    const counts = traffic?.peers?.get(publicIP);
    if (counts !== undefined) writeCounts(page, "flanneld_peer_", "the peer's host", counts, peer);
    const trip = inquiry.roundTrip(view.name, peer.subnet);
    if (trip === undefined) continue;
    if (trip.last !== undefined) {
      page.gauge(
        "flanneld_peer_round_trip_seconds",
        "Of the last echo through the overlay; absent when it was lost.",
        trip.last / 1000,
        peer,
      );
    }
    page.counter("flanneld_peer_echoes_total", "Echoes sent since somebody asks.", trip.sent, peer);
    page.counter("flanneld_peer_lost_echoes_total", "Echoes without a reply.", trip.lost, peer);
  }
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
