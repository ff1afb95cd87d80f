import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { COUNTERS } from "../../../backends/udp/user/counters.ts";
import type { AgentStatus, NetworkReport, PeerReport } from "../../agent/status/status.ts";
import { isWell, statusTable } from "./status_table.ts";

/** The table as it is printed. */
function tableOf(...args: Parameters<typeof statusTable>): string {
  return statusTable(...args).map((line) => `${line}\n`).join("");
}

const PEER: PeerReport = {
  subnet: "10.20.65.0/24",
  publicIP: "172.28.128.102",
  backend: "udp",
  refused: null,
  path: "kernel",
  hostname: "host102",
  version: "0.1.0",
  traffic: { sentPackets: 10, sentBytes: 1000, receivedPackets: 20, receivedBytes: 2_000_000 },
  roundTrip: { lastMs: 0.184, bestMs: 0.1, sent: 4, lost: 1, time: "2026-01-02T03:04:04.000Z" },
};

const NETWORK: NetworkReport = {
  name: "",
  state: "ready",
  warnings: [],
  network: "10.20.0.0/16",
  config: '{"Network":"10.20.0.0/16"}',
  store: {
    name: "etcd v2 at http://172.28.128.100:2379, prefix /flannel/network",
    watching: true,
    lastChange: null,
    since: "2026-01-02T03:00:00.000Z",
    calls: 12,
    errors: 1,
  },
  host: { publicIP: "172.28.128.101", interface: "eth1", address: "172.28.128.101", mtu: 1500 },
  backend: {
    ...{ type: "udp", device: "flannel0", mtu: 1472, features: "TCP segmentation, UDP GSO" },
    outsideSources: { refused: true, guarded: true, reason: "all of 2 peers masquerade" },
  },
  lease: {
    subnet: "10.20.93.0/24",
    expires: "2026-01-03T03:00:05.000Z",
    renewal: "2026-01-03T02:00:05.000Z",
    since: "2026-01-02T03:00:05.000Z",
  },
  subnetFile: "/run/flannel/subnet.env",
  peers: { count: 1, refused: 0, omitted: 0, list: [PEER] },
  traffic: {
    ...{ sentPackets: 10, sentBytes: 1000, receivedPackets: 20, receivedBytes: 2_000_000 },
    drops: { sendNoRoute: 3 },
  },
  repairs: {
    total: 2,
    byKind: { route: 2 },
    recent: [{ time: "2026-01-02T03:04:00.000Z", what: "route to 10.20.65.0/24 removed" }],
  },
};

const STATUS: AgentStatus = {
  statusVersion: 1,
  time: "2026-01-02T03:04:05.000Z",
  agent: {
    ...{ version: "0.1.0", runtime: "Deno 2.4.2", pid: 1234, hostname: "host101" },
    ...{ started: "2026-01-02T03:00:00.000Z", uptimeSeconds: 245, residentBytes: 61 * 2 ** 20 },
  },
  unhealthy: [],
  ready: true,
  networks: [NETWORK],
  waiting: [],
};

function having(network: Partial<NetworkReport>, status: Partial<AgentStatus> = {}): AgentStatus {
  return { ...STATUS, ...status, networks: [{ ...NETWORK, ...network }] };
}

Deno.test("statusTable() fits a terminal of 80 columns", () => {
  assertEquals(
    tableOf(STATUS),
    `flanneld  0.1.0 on host101, pid 1234, up 4 min 5 s, 61 MiB
health    ok, ready

network   10.20.0.0/16, ready
host      172.28.128.101 on eth1, MTU 1500
backend   udp on flannel0, MTU 1472, TCP segmentation, UDP GSO
          outside sources refused: all of 2 peers masquerade
lease     10.20.93.0/24, expires in 23 h 56 min, renewed in 22 h 56 min
store     etcd v2 at http://172.28.128.100:2379, prefix /flannel/network,
          followed for 4 min 5 s, 12 calls, 1 failed
traffic   sent 1.00 kB in 10 packets; received 2.00 MB in 20 packets
dropped   no host has the address 3
repairs   route 2; last 5 s ago: route to 10.20.65.0/24 removed
peers     1
  SUBNET         HOST            RTT ms  LOST     SENT  RECEIVED  NOTE
  10.20.65.0/24  172.28.128.102    0.18   25%  1.00 kB   2.00 MB  host102, 0.1.0
`,
  );
});

Deno.test("statusTable() reports warnings of a network in its first lines", () => {
  const warnings = [{ since: "2026-01-02T03:03:05.000Z", message: "no free subnet" }];
  const table = tableOf(having({ state: "warning", warnings }));
  assertStringIncludes(table, "health    ready, with warnings\n");
});

Deno.test("isWell() is false without readiness, with a reason to be unhealthy, and with a warning", () => {
  const warning = { since: "2026-01-02T03:03:00.000Z", message: "no config" };
  assertEquals(isWell(STATUS), true);
  assertEquals(isWell({ ...STATUS, ready: false }), false);
  assertEquals(isWell({ ...STATUS, unhealthy: ["store: not followed"] }), false);
  assertEquals(isWell({ ...STATUS, networks: [{ ...NETWORK, warnings: [warning] }] }), false);
  const waiting = (one: typeof warning | null) => [{ name: "b", subnetFile: "/b", warning: one }];
  assertEquals(isWell({ ...STATUS, waiting: waiting(warning) }), false);
  assertEquals(isWell({ ...STATUS, waiting: waiting(null) }), true);
});

Deno.test("statusTable() neither breaks nor cuts lines without a limit", () => {
  const long = { ...PEER, hostname: "h".repeat(300) };
  const peers = { ...NETWORK.peers, list: [long] };
  const table = tableOf({ ...STATUS, networks: [{ ...NETWORK, peers }] }, { columns: Infinity });
  assertStringIncludes(table, `${long.hostname}, 0.1.0, kernel\n`);
  assertMatch(table, /^store .* followed for .* failed$/m);
});

Deno.test("statusTable() has words for each reason that data paths drop packets for", () => {
  const reasons = COUNTERS.filter((name) => name.startsWith("drop"))
    .map((name) => name[4]!.toLowerCase() + name.slice(5));
  for (const reason of reasons) {
    const traffic = { ...NETWORK.traffic!, drops: { [reason]: 1 } };
    const table = tableOf(having({ traffic }), { columns: 120 });
    assertEquals(/^dropped +(.*)$/m.exec(table)?.[1]?.includes(reason), false, reason);
  }
});

Deno.test("statusTable() shows a problem at its place", () => {
  const table = tableOf(
    having({
      state: "warning",
      warnings: [{ since: "2026-01-02T03:03:05.000Z", message: "no free subnet" }],
      lease: {
        ...NETWORK.lease!,
        expires: "2026-01-02T03:04:00.000Z",
        renewal: "2026-01-02T02:04:05.000Z",
      },
      store: { ...NETWORK.store, watching: false },
      peers: {
        ...{ count: 0, refused: 1, omitted: 0 },
        list: [{ ...PEER, refused: "is outside Network", roundTrip: null, traffic: null }],
      },
    }, { unhealthy: ["watch: the store has not been followed for 130 s: refused"], ready: false }),
  );
  for (
    const text of [
      "health    NOT WELL",
      "! watch: the store has not been",
      "! no free subnet (for 1 min)",
      "RAN OUT 5 s ago, renewal OVERDUE for 1 h",
      "NOT\n          followed for 4 min",
      "0, 1 refused",
      "! 10.20.65.0/24 is refused: it is outside Network",
      "-  REFUSED\n",
    ]
  ) assertStringIncludes(table, text);
});

Deno.test("statusTable() shows rates when it has earlier values", () => {
  const before = having({
    traffic: { ...NETWORK.traffic!, sentPackets: 0, sentBytes: 0 },
    peers: {
      ...NETWORK.peers,
      list: [{ ...PEER, traffic: { ...PEER.traffic!, receivedBytes: 0 } }],
    },
  }, { time: "2026-01-02T03:04:03.000Z" });
  const table = tableOf(STATUS, { before });
  assertStringIncludes(table, "sent 4.00 kbit/s, 5 packets/s; received 0 bit/s, 0 packets/s");
  assertMatch(table, / 25% {2} *0 bit\/s {2}8\.00 Mbit\/s /);
});

Deno.test("statusTable() shows a host that waits for its network", () => {
  const table = tableOf(
    having({
      ...{
        state: "waiting",
        network: null,
        config: null,
        backend: null,
        lease: null,
        traffic: null,
      },
      peers: { count: 0, refused: 0, omitted: 0, list: [] },
      repairs: { total: 0, byKind: {}, recent: [] },
    }, { ready: false }),
  );
  assertStringIncludes(table, "health    ok, not ready yet\n");
  assertStringIncludes(table, "network   not known yet, waiting\n");
  assertStringIncludes(table, "lease     none\n");
  assert(!table.includes("repairs") && !table.includes("SUBNET"));
});

Deno.test("statusTable() keeps to the terminal, and counts the peers that do not fit", () => {
  const sizes = fc.record({
    columns: fc.integer({ min: 40, max: 200 }),
    lines: fc.integer({ min: 24, max: 60 }),
  });
  fc.assert(fc.property(sizes, fc.nat(100), fc.nat(50), ({ columns, lines }, count, omitted) => {
    const list = Array.from({ length: count }, (_, i) => ({ ...PEER, subnet: `10.20.${i}.0/24` }));
    const table = tableOf(having({ peers: { count, refused: 0, omitted, list } }), {
      columns,
      lines,
    });
    const rows = table.split("\n").slice(0, -1);
    assert(rows.every((row) => row.length <= columns || !row.includes(" ")), table);
    const shown = rows.filter((row) => row.startsWith("  10.20.")).length;
    const more = Number(/and (\d+) more/.exec(table)?.[1] ?? 0);
    if (columns >= 60) {
      assert(rows.length <= Math.max(lines, 22), `${rows.length} of ${lines}\n${table}`);
    }
    if (count > 0) assertEquals(shown + more, count + omitted);
  }));
});

Deno.test("statusTable() shows each of several networks, also one that has no lease", () => {
  const waiting = { ...NETWORK, name: "green", lease: null, backend: null, traffic: null };
  const table = tableOf({
    ...STATUS,
    networks: [{ ...NETWORK, name: "blue" }, { ...waiting, peers: { ...NETWORK.peers, list: [] } }],
  });
  const [, blue, green] = table.split("\n\n") as [string, string, string];
  assertMatch(
    blue,
    /^network +blue, 10\.20\.0\.0\/16[^]*\nlease +10\.20\.93\.0\/24[^]*host102/,
  );
  assertMatch(green, /^network +green, 10\.20\.0\.0\/16[^]*\nlease +none\n/);
});

Deno.test("statusTable() has the networks that are not served yet, and what they wait for", () => {
  const text = tableOf({
    ...STATUS,
    networks: [{ ...NETWORK, name: "blue" }],
    waiting: [
      {
        ...{ name: "green", subnetFile: "/run/flannel/networks/green.env" },
        warning: {
          since: "2026-01-02T03:03:00.000Z",
          message: "failed to retrieve network config",
        },
      },
      { name: "red", subnetFile: "/run/flannel/networks/red.env", warning: null },
    ],
  });
  assertMatch(text, /^health +ready, with warnings$/m);
  assertStringIncludes(
    text,
    "network   green, not known yet, waiting\n" +
      "          ! failed to retrieve network config (for 1 min 5 s)\n\n" +
      "network   red, not known yet, waiting\n          it has just begun\n",
  );
  assertMatch(text, /^network +blue, 10\.20\.0\.0\/16, ready$[^]*^ {2}10\.20\.65\.0\/24[^]*green/m);
});

Deno.test("statusTable() counts a single packet as one", () => {
  const traffic = { ...NETWORK.traffic!, sentPackets: 1, sentBytes: 84, receivedPackets: 0 };
  const table = tableOf({ ...STATUS, networks: [{ ...NETWORK, traffic }] }, { columns: 100 });
  assertStringIncludes(table, "traffic   sent 84 B in 1 packet; received 2.00 MB in 0 packets\n");
});
