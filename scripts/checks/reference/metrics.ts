/**
 * Reference of the metrics, from an answer to `/metrics` that has all of them.
 *
 * @module
 */
import { AgentMetrics } from "../../../mod/agent/status/agent_metrics.ts";
import { metricsPage } from "../../../mod/agent/status/metrics.ts";
import type { AgentStatus, TrafficCounts } from "../../../mod/agent/status/status.ts";
import { markdownTable } from "../generated.ts";

/** A metric. */
export interface Metric {
  readonly name: string;
  /** `counter`, `gauge` or `histogram`. */
  readonly type: string;
  readonly help: string;
  /** Without `network`, which several networks add to all but those of the process, and `le`. */
  readonly labels: readonly string[];
}

const TIME = "2026-01-02T03:04:05Z";
const COUNTS: TrafficCounts = {
  sentPackets: 1,
  sentBytes: 1,
  receivedPackets: 1,
  receivedBytes: 1,
};

/** A status in which no member is `null`. */
const STATUS: AgentStatus = {
  statusVersion: 1,
  time: TIME,
  agent: {
    version: "0.1.0",
    runtime: "Deno 2.4.2",
    pid: 1,
    hostname: "host100",
    started: TIME,
    uptimeSeconds: 1,
    residentBytes: 1,
  },
  unhealthy: [],
  ready: true,
  waiting: [],
  networks: [{
    name: "",
    state: "ready",
    warnings: [],
    network: "10.20.0.0/16",
    config: "{}",
    store: { name: "", watching: true, lastChange: TIME, since: TIME, calls: 1, errors: 0 },
    host: { publicIP: "172.28.128.100", interface: "eth1", address: "172.28.128.100", mtu: 1500 },
    backend: {
      type: "udp",
      device: "flannel0",
      mtu: 1472,
      features: "",
      outsideSources: { refused: true, guarded: true, reason: "" },
    },
    lease: { subnet: "10.20.1.0/24", expires: TIME, renewal: TIME, since: TIME },
    subnetFile: "/run/flannel/subnet.env",
    peers: {
      count: 1,
      refused: 0,
      omitted: 0,
      list: [{
        subnet: "10.20.2.0/24",
        publicIP: "172.28.128.101",
        backend: "udp",
        refused: null,
        path: "kernel",
        hostname: "host101",
        version: "0.1.0",
        traffic: COUNTS,
        roundTrip: { lastMs: 1, bestMs: 1, sent: 1, lost: 0, time: TIME },
      }],
    },
    traffic: { ...COUNTS, drops: { sendNoRoute: 1 } },
    repairs: { total: 0, byKind: {}, recent: [] },
  }],
};

/** Reads the metrics of an agent to which everything has happened that has one. */
export async function readMetrics(): Promise<Metric[]> {
  const own = new AgentMetrics();
  own.watching();
  own.arrived(["lease"]);
  own.damaged("route to 10.20.2.0/24 removed");
  await own.call("snapshot", () => true, () => Promise.resolve());
  const text = await metricsPage(STATUS, new Map([["", own]])).text();
  return Array.from(text.matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)\n/gm), (match) => {
    const [, name, help, type] = match as unknown as [string, string, string, string];
    const sample = new RegExp(`^${name}(?:_bucket)?(?:\\{(.*)\\})? `, "m").exec(text)?.[1] ?? "";
    const labels = Array.from(sample.matchAll(/(\w+)="/g), ([, label]) => label!);
    return { name, help, type, labels: labels.filter((label) => label !== "le") };
  });
}

/** Writes the table. */
export async function metricsSection(): Promise<string> {
  const rows = (await readMetrics()).map(({ name, type, help, labels }) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(", "),
    help.replace(/\.$/, ""),
  ]);
  return markdownTable([["metric", "type", "labels", "meaning"], ...rows]);
}
