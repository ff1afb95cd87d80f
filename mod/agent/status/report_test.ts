import { assertEquals } from "@std/assert";
import { StoreError } from "../../store/mod.ts";
import type { AgentStatus } from "./status.ts";
import { PeerProbe } from "./peer_probe.ts";
import { collectStatus } from "./report.ts";
import { labLease, labView } from "../testing/status_view_lab.ts";
import type { AgentView, StatusSource } from "./view.ts";
import type { WaitingView } from "./waiting.ts";

async function statusOf(
  views: readonly AgentView[],
  peers: number,
  waiting: readonly WaitingView[] = [],
): Promise<AgentStatus> {
  const { signal } = new AbortController();
  const source: StatusSource = {
    waiting: () => waiting,
    ...{ views: () => views, isReady: () => true, watchBound: 60, metricsPeers: 10, signal },
  };
  const probe = new PeerProbe(source.views, signal);
  return await collectStatus(source, { unhealthy: [], probe, peers });
}

const store = { name: "a store", snapshot: () => Promise.reject(new StoreError("down")) };

Deno.test("collectStatus() lists peers by subnet, as many as are wanted, those refused included", async () => {
  let asked = 0;
  const view = labView([labLease(30), labLease(2, "vxlan"), labLease(11)], {
    store,
  });
  Object.defineProperty(view.active!.network, "status", {
    value: () => ({
      ...{ device: "flannel0", peers: 2 },
      refused: new Map([["10.20.2.0-24", "is of backend vxlan"]]),
      get paths() {
        asked++;
        return new Map([["10.20.11.0/24", "kernel"]]);
      },
    }),
  });
  const { peers } = (await statusOf([view], 2)).networks[0]!;
  assertEquals([peers.count, peers.refused, peers.omitted], [2, 1, 1]);
  assertEquals(
    peers.list.map(({ subnet, backend, refused, path }) => [subnet, backend, refused, path]),
    [
      ["10.20.2.0/24", "vxlan", "is of backend vxlan", null],
      ["10.20.11.0/24", "udp", null, "kernel"],
    ],
  );
  assertEquals(asked, 1);
});

Deno.test("collectStatus() has an entry for each network, warned before ready", async () => {
  const waiting = labView([], { name: "red", store, isReady: false });
  const warned = labView([], {
    ...{ name: "blue", store },
    warnings: [{ since: Date.UTC(2026, 0, 2), message: "no free subnet" }],
  });
  const { networks, statusVersion } = await statusOf([waiting, warned], 10);
  assertEquals(statusVersion, 1);
  assertEquals(networks.map(({ name, state }) => [name, state]), [
    ["red", "waiting"],
    ["blue", "warning"],
  ]);
  assertEquals(networks[1]!.warnings, [
    { since: "2026-01-02T00:00:00.000Z", message: "no free subnet" },
  ]);
  assertEquals(networks[0]!.lease!.subnet, "10.20.1.0/24");
});

Deno.test("collectStatus() describes an agent without a lease", async () => {
  const { active: _active, lease: _lease, term: _term, ...bare } = labView([], { store });
  const view = { ...bare, active: undefined, lease: undefined, term: undefined, isReady: false };
  const [network] = (await statusOf([view], 10)).networks;
  assertEquals([network!.backend, network!.lease, network!.traffic, network!.network], [
    null,
    null,
    null,
    null,
  ]);
});

Deno.test("collectStatus() names the networks that have no agent", async () => {
  const warning = { since: Date.UTC(2026, 0, 2), message: "no config" };
  const { networks, waiting } = await statusOf([], 10, [
    { name: "blue", subnetFile: "/run/n/blue.env", warning },
    { name: "red", subnetFile: "/run/n/red.env", warning: undefined },
  ]);
  assertEquals(networks, []);
  assertEquals(waiting, [
    {
      ...{ name: "blue", subnetFile: "/run/n/blue.env" },
      warning: { since: "2026-01-02T00:00:00.000Z", message: "no config" },
    },
    { name: "red", subnetFile: "/run/n/red.env", warning: null },
  ]);
});
