import { assert, assertEquals, assertMatch } from "@std/assert";
import { PeerProbe } from "./peer_probe.ts";
import { metricsPage } from "./metrics.ts";
import { collectStatus } from "./report.ts";
import { StatusPages } from "./pages.ts";
import { labLease, labView } from "../testing/status_view_lab.ts";
import type { AgentView, StatusSource } from "./view.ts";

const counts = (n: number) => ({
  sentPackets: n,
  sentBytes: 10 * n,
  receivedPackets: 2 * n,
  receivedBytes: 20 * n,
});

function source(views: readonly AgentView[], more: Partial<StatusSource> = {}): StatusSource {
  const { signal } = new AbortController();
  return {
    views: () => views,
    waiting: () => [],
    isReady: () => true,
    watchBound: 60,
    metricsPeers: 10,
    signal,
    ...more,
  };
}

/** The text of `/metrics`, without probes. */
async function metrics(from: StatusSource): Promise<string> {
  const probe = new PeerProbe(from.views, from.signal);
  const status = await collectStatus(from, {
    ...{ unhealthy: [], probe, peers: from.metricsPeers },
    withHosts: false,
  });
  return await metricsPage(
    status,
    new Map(from.views().map(({ name, metrics }) => [name, metrics])),
  ).text();
}

/** A view in which everything has happened that has a metric. */
function busy(): AgentView {
  const { publicIP } = labLease(2).attributes;
  const view = labView([labLease(2), labLease(3)], {
    status: {
      traffic: () => ({
        total: counts(9),
        drops: { sendNoRoute: 4 },
        peers: new Map([[publicIP, counts(5)]]),
      }),
    },
  });
  view.metrics.watching();
  view.metrics.arrived(["lease"]);
  view.metrics.damaged("route to 10.20.2.0/24 removed");
  return view;
}

Deno.test("metricsPage() has a series for each peer that somebody counts for", async () => {
  const text = await metrics(source([busy()]));
  for (
    const line of [
      "flanneld_ready 1",
      "flanneld_peers 2",
      "flanneld_sent_packets_total 9",
      'flanneld_dropped_packets_total{reason="send_no_route"} 4',
      'flanneld_peer_received_bytes_total{subnet="10.20.2.0/24",public_ip="172.28.0.2"} 100',
      'flanneld_repairs_total{kind="route"} 1',
      'flanneld_watch_changes_total{type="lease"} 1',
      "flanneld_watch_up 1",
      "flanneld_peers_without_series 0",
    ]
  ) assert(text.includes(`\n${line}\n`), `${line} is not in\n${text}`);
  assertMatch(text, /^flanneld_lease_expiry_seconds 86[34]\d\d/m);
  assert(!text.includes('subnet="10.20.3.0/24"'));
});

Deno.test("metricsPage() names networks where there are several", async () => {
  const text = await metrics(source([{ ...busy(), name: "blue" }, { ...busy(), name: "red" }]));
  for (const name of ["blue", "red"]) {
    assert(text.includes(`flanneld_peers{network="${name}"} 2\n`));
  }
});

Deno.test("metricsPage() stays small with 60,000 peers, and counts the omitted ones", async () => {
  const peers = Array.from({ length: 60_000 }, (_, i) => {
    const { subnet, attributes, ...lease } = labLease(2);
    const moved = Object.create(subnet, {
      address: { value: subnet.address + 256 * i },
      key: { value: subnet.key + i },
    });
    return { ...lease, subnet: moved, attributes: { publicIP: attributes.publicIP + i } };
  });
  const traffic = () => ({
    total: counts(9),
    drops: {},
    peers: new Map(peers.map(({ attributes }) => [attributes.publicIP, counts(1)])),
  });
  const view = labView(peers, { status: { traffic } });
  const text = await metrics(source([view], { metricsPeers: 1000 }));
  assert(text.length < 600_000, `${text.length} bytes`);
  assert(text.includes("flanneld_peers_without_series 59000\n"));
  assertEquals(text.match(/^flanneld_peer_sent_packets_total/gm)!.length, 1000);
});

Deno.test("StatusPages answers health by its findings, and is well while the store is to blame", async () => {
  const view = busy();
  const pages = new StatusPages(source([view], { watchBound: 0.01 }));
  const ask = async (path: string) => {
    const response = await pages.pages[path]!(new URL(`http://localhost${path}`));
    return [response.status, await response.text()];
  };
  assertEquals(await ask("/healthz"), [200, "flanneld is running\n"]);
  assertEquals(await ask("/readyz"), [200, "flanneld is ready\n"]);
  view.metrics.watching(new Error("refused"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assertEquals(await ask("/healthz"), [
    503,
    "watch: the store has not been followed for 0 s: refused\n",
  ]);
  assertEquals(pages.isWell(), true);
  const stopped = labView([], { name: "blue", status: { stopped: "the device is gone" } });
  const stuck = new StatusPages(source([stopped], { isReady: () => false }));
  assertEquals(stuck.unhealthy(), ["network blue: data path: the device is gone"]);
  assertEquals(stuck.isWell(), false);
});
