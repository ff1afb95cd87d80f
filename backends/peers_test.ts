import { assertEquals, assertMatch } from "@std/assert";
import { FakeTime } from "../mod/agent/testing/time_lab.ts";
import { type Lease, leaseKey } from "../mod/lease/mod.ts";
import { configureLog, flushLog } from "../mod/observe/mod.ts";
import { captureLog } from "../mod/observe/testing/log_lab.ts";
import { ip, net, vxlan } from "../mod/store/testing/store_lab.ts";
import { HostRoutes } from "./host_routes.ts";
import { logPeer, type PeerRules, refusal, Refusals } from "./peers.ts";

function lease(subnet: string, publicIP = "192.0.2.2"): Lease {
  return { subnet: net(subnet), attributes: vxlan(publicIP), revision: "1" };
}

const RULES: PeerRules = {
  config: { network: net("10.20.0.0/16"), subnetLen: 24 },
  own: lease("10.20.93.0/24", "192.0.2.1"),
  publicIP: ip("192.0.2.1"),
  host: hostOn("192.0.2.1/24", "10.20.50.1/24", "198.51.100.9/32"),
};

/** A host with these addresses, each on an interface of its own. */
function hostOn(...addresses: string[]): HostRoutes {
  const host = new HostRoutes(net("10.20.0.0/16"));
  host.load({
    links: [],
    addresses: addresses.map((text, i) => {
      const [address, length] = text.split("/");
      const prefixLength = Number(length);
      return { index: i + 2, address: ip(address!), prefixLength, scope: 0, flags: 0x80 };
    }),
    routes: [],
  });
  return host;
}

Deno.test("refusal() lets a peer pass", () => {
  for (const subnet of ["10.20.1.0/24", "10.20.255.0/24", "10.20.128.0/25", "10.20.0.0/30"]) {
    assertEquals(refusal(lease(subnet), RULES), undefined, subnet);
  }
});

Deno.test("refusal() names what a lease must not be", () => {
  const cases: readonly (readonly [Lease, string])[] = [
    [lease("10.21.1.0/24"), "is outside Network 10.20.0.0/16"],
    [lease("192.168.1.0/24"), "is outside Network 10.20.0.0/16"],
    // Larger than the network: it would take everybody's routes.
    [lease("10.0.0.0/8"), "is outside Network 10.20.0.0/16"],
    [lease("0.0.0.0/0"), "is outside Network 10.20.0.0/16"],
    [lease("10.20.1.0/31"), "is longer than /30"],
    [lease("10.20.1.7/32"), "is longer than /30"],
    [lease("10.20.93.0/24"), "overlaps our own subnet 10.20.93.0/24"],
    [lease("10.20.50.0/24"), "meets 10.20.50.0/24, which an interface of this host is on"],
    [lease("10.20.50.64/26"), "meets 10.20.50.0/24, which an interface of this host is on"],
    [lease("10.20.48.0/20"), "is larger than a subnet of this network, /24"],
    [lease("10.20.93.64/26"), "overlaps our own subnet 10.20.93.0/24"],
    [lease("10.20.64.0/18"), "overlaps our own subnet 10.20.93.0/24"],
    [lease("10.20.0.0/16"), "overlaps our own subnet 10.20.93.0/24"],
    [lease("10.20.1.0/24", "192.0.2.1"), "carries our own public IP 192.0.2.1"],
    [lease("10.20.1.0/24", "0.0.0.0"), "has public IP 0.0.0.0, which no host can have"],
    [lease("10.20.1.0/24", "127.0.0.1"), "has public IP 127.0.0.1, which no host can have"],
    [lease("10.20.1.0/24", "224.0.0.1"), "has public IP 224.0.0.1, which no host can have"],
    [lease("10.20.1.0/24", "169.254.1.1"), "has public IP 169.254.1.1, which no host can have"],
    [
      lease("10.20.1.0/24", "255.255.255.255"),
      "has public IP 255.255.255.255, which no host can have",
    ],
    [lease("10.20.1.0/24", "240.0.0.9"), "has public IP 240.0.0.9, which no host can have"],
    [
      lease("10.20.1.0/24", "198.51.100.9"),
      "has public IP 198.51.100.9, which is an address of this host",
    ],
    [
      lease("10.20.1.0/24", "192.0.2.0"),
      "has public IP 192.0.2.0, the network address of 192.0.2.0/24",
    ],
    [
      lease("10.20.1.0/24", "192.0.2.255"),
      "has public IP 192.0.2.255, the broadcast address of 192.0.2.0/24",
    ],
    [lease("10.20.1.0/24", "10.20.1.9"), "contains its own public IP 10.20.1.9"],
  ];
  for (const [lease, reason] of cases) {
    assertEquals(refusal(lease, RULES), reason, `${lease.subnet}`);
  }
});

Deno.test("refusal() keeps a lease from swallowing our own underlay", () => {
  // Hosts inside Network, as an operator may have it with SubnetMin and SubnetMax.
  const rules = { ...RULES, publicIP: ip("10.20.1.7") };
  assertEquals(refusal(lease("10.20.1.0/24"), rules), "contains our own public IP 10.20.1.7");
  assertEquals(refusal(lease("10.20.2.0/24", "10.20.1.8"), rules), undefined);
});

Deno.test("Refusals.note() warns once per lease and reason, and passes the verdict on", () => {
  using log = captureLog();
  const refusals = new Refusals();
  const bad = lease("10.21.1.0/24");
  assertEquals(refusals.note(lease("10.20.1.0/24"), undefined), undefined);
  for (let i = 0; i < 3; i++) assertEquals(refusals.note(bad, "is bad"), "is bad");
  assertEquals(refusals.note(bad, "is worse"), "is worse");
  assertEquals([...refusals.reasons], [["10.21.1.0-24", "is worse"]]);
  assertEquals(refusals.note(bad, undefined), undefined);
  assertEquals([...refusals.reasons], []);
  refusals.note(bad, "is bad");
  assertEquals(log.lines, [
    "W Ignoring subnet 10.21.1.0/24: it is bad",
    "W Ignoring subnet 10.21.1.0/24: it is worse",
    "W Ignoring subnet 10.21.1.0/24: it is bad",
  ]);
});

Deno.test("Refusals.note() and logPeer() log thousands of leases in a hundred lines and their sum", () => {
  using log = captureLog();
  using _time = new FakeTime();
  configureLog({ limitRepeats: true });
  try {
    const refusals = new Refusals();
    for (let i = 0; i < 5_000; i++) {
      const foreign = lease(`10.21.${i >>> 8}.${i & 255}/32`);
      refusals.note(foreign, refusal(foreign, RULES));
      logPeer("added", foreign);
    }
    assertEquals(refusals.reasons.size, 5_000);
    flushLog();
  } finally {
    configureLog({ limitRepeats: false });
  }
  for (const kind of [/Ignoring subnet/, /Subnet added/]) {
    const lines = log.lines.filter((line) => kind.test(line));
    assertEquals(lines.length, 101);
    assertMatch(lines.at(-1)!, /^. 4900 more lines like the following in 0 s: /);
  }
});

Deno.test("Refusals.forget() and retain() forget what is gone", () => {
  using log = captureLog();
  const refusals = new Refusals();
  const [a, b, c] = ["10.21.1.0/24", "10.21.2.0/24", "10.21.3.0/24"].map((subnet) => lease(subnet));
  for (const lease of [a!, b!, c!]) refusals.note(lease, "is bad");
  refusals.forget(a!);
  assertEquals([...refusals.reasons.keys()], ["10.21.2.0-24", "10.21.3.0-24"]);
  refusals.retain(new Set([leaseKey(a!.subnet), leaseKey(c!.subnet)]));
  assertEquals([...refusals.reasons.keys()], ["10.21.3.0-24"]);
  refusals.note(b!, "is bad");
  assertEquals(log.lines.length, 4);
});
