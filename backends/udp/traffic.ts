import type { IPv4 } from "../../mod/ip/mod.ts";
import type { NetworkTraffic, TrafficCounts } from "../backend.ts";
import type { CounterName, PeerCounters } from "./user/counters.ts";
import type { Reason } from "./kernel/programs/layout.ts";

/** Traffic with one peer. */
export interface PeerTraffic extends PeerCounters {
  readonly publicIP: IPv4;
}

/** Counters of one of the two data paths. */
export interface PathTraffic {
  readonly peers: readonly PeerTraffic[];
  /** Drops by reason; the user-space path has other counters too. */
  readonly counters: Readonly<Partial<Record<CounterName | Reason, number>>>;
}

/** Adds up the traffic of both data paths. Each packet is counted by the path that carried it. */
export function combineTraffic(paths: readonly (PathTraffic | undefined)[]): NetworkTraffic {
  const peers = new Map<IPv4, TrafficCounts>();
  const drops: Record<string, number> = {};
  let total: TrafficCounts = NONE;
  for (const path of paths) {
    if (path === undefined) continue;
    for (const { publicIP, ...counts } of path.peers) {
      peers.set(publicIP, add(peers.get(publicIP) ?? NONE, counts));
      total = add(total, counts);
    }
    for (const [name, count] of Object.entries(path.counters)) {
      const reason = /^drop([A-Z].*)$/.exec(name)?.[1];
      if (reason === undefined || count === 0) continue;
      const key = reason[0]!.toLowerCase() + reason.slice(1);
      drops[key] = (drops[key] ?? 0) + count;
    }
  }
  return { total, drops, peers };
}

const NONE: TrafficCounts = { sentPackets: 0, sentBytes: 0, receivedPackets: 0, receivedBytes: 0 };

function add(a: TrafficCounts, b: TrafficCounts): TrafficCounts {
  return {
    sentPackets: a.sentPackets + b.sentPackets,
    sentBytes: a.sentBytes + b.sentBytes,
    receivedPackets: a.receivedPackets + b.receivedPackets,
    receivedBytes: a.receivedBytes + b.receivedBytes,
  };
}
