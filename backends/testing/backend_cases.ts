/**
 * Requirements of every backend, as a table of cases that each backend's test runs on the real kernel,
 * in namespaces of its own (needs root).
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease } from "../../mod/lease/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import type { Backend, BackendContext, Network } from "../backend.ts";
import { type BackendHost, BackendLab, NETWORK, prepare } from "./backend_lab.ts";

/** A backend under test. */
export interface BackendSubject {
  readonly backend: Backend;
  /** Members of the config's `Backend` besides `Type`. @default {} */
  readonly options?: Readonly<Record<string, JsonValue>>;
  /** Bytes that it takes from the interface's MTU. */
  readonly overhead: number;
  /** Has a device with the lease's base address. @default true */
  readonly device?: boolean;
  /** Each peer has objects of its own in the kernel. @default true */
  readonly peerObjects?: boolean;
  /** A lease as an agent with this backend on the host with `publicIP` would write it. */
  lease(subnet: string, publicIP: string): Lease;
}

/** Fixture of a case; everything in it is new. */
interface CaseContext {
  readonly subject: BackendSubject;
  readonly lab: BackendLab;
  readonly host: BackendHost;
  /** Messages that were logged. */
  readonly log: readonly string[];
  /** Prepares the backend on a host, by default the first. */
  prepare(
    subnet: string,
    host?: BackendHost,
    overrides?: Partial<BackendContext>,
  ): Promise<{ network: Network; own: Lease }>;
}

type Case = readonly [sentence: string, run: (context: CaseContext) => Promise<void>];

/** Registers the cases that every backend passes, as tests named after the backend. */
export function backendCases(subject: BackendSubject): void {
  register(subject, COMMON);
}

/** Registers the cases of backends that carry packets by themselves, those of all included. */
export function carrierCases(subject: BackendSubject): void {
  register(subject, [...COMMON, ...CARRIER]);
}

/** Subnet of the host under test. */
const OWN = "10.20.1.0/24";

/** Leases of hosts that need not exist. */
function peersOf(subject: BackendSubject): Lease[] {
  return [
    subject.lease("10.20.2.0/24", "172.28.128.101"),
    subject.lease("10.20.3.0/24", "172.28.128.102"),
    subject.lease("10.20.250.0/24", "172.28.128.103"),
  ];
}

const COMMON: readonly Case[] = [
  [
    "prepare() returns an MTU that fits into the interface's",
    async ({ subject, host, prepare }) => {
      const { network } = await prepare(OWN);
      assertEquals(network.mtu, host.external.mtu - subject.overhead);
    },
  ],

  ["sync() carries on what another process left, changing nothing", async (context) => {
    const { subject, host, prepare } = context;
    const leases = () => new LeaseSet(peersOf(subject));
    const first = await prepare(OWN);
    assertEquals(await first.network.sync(first.own, leases()), 0);
    const before = await host.state();

    let second = first;
    const changes = await host.changesDuring(async () => {
      assertEquals(await first.network.sync(first.own, leases()), 0);
      await first.network.close();
      second = await prepare(OWN);
      assertEquals(await second.network.sync(second.own, leases()), 0);
    });
    assertEquals(changes, []);
    assertEquals(await host.state(), before);
    assertEquals(second.own, first.own);
  }],

  ["remove() leaves the host as it was", async ({ subject, host, prepare }) => {
    const before = await host.state();
    const { network, own } = await prepare(OWN);
    await network.sync(own, new LeaseSet(peersOf(subject)));
    await network.remove();
    assertEquals(await host.state(), before);
  }],

  ["sync() removes the routes that another backend left in its networks", async (context) => {
    const { subject, host, prepare } = context;
    const leases = new LeaseSet(peersOf(subject));
    const formerNetworks = [Prefix.parse("10.30.0.0/16")!];
    const fresh = await prepare(OWN, host, { formerNetworks });
    await fresh.network.sync(fresh.own, leases);
    const want = await host.state();
    await fresh.network.close();
    const stay = [
      "10.40.35.0/24 via 172.28.128.101 proto 102", // another agent's
      "10.20.36.0/24 via 172.28.128.101 proto static",
      "10.20.38.0/24 via 172.28.128.101 proto 102 table 77",
    ];
    const stale = [
      "10.20.35.0/24 via 172.28.128.101 proto 102", // host-gw
      "10.20.37.0/24 via 172.28.128.101 proto 102 metric 37",
      "10.30.35.0/24 via 172.28.128.101 proto 102",
      "10.20.39.0/24 dev lo proto 102", // by a device of another backend
    ];
    for (const line of stay) await host.namespace.ip("route", "add", ...line.split(" "));
    const before = await host.state();
    for (const line of stale) await host.namespace.ip("route", "add", ...line.split(" "));

    const { network, own } = await prepare(OWN, host, { formerNetworks });
    assertEquals(await network.sync(own, leases), 0);
    assertEquals(await host.state(), before);
    for (const line of stay) await host.namespace.ip("route", "del", ...line.split(" "));
    assertEquals(await host.state(), want);
  }],

  ["run() ends without an error when its signal aborts", async ({ host, prepare }) => {
    const { network, own } = await prepare(OWN);
    await network.sync(own, new LeaseSet());
    const watch = host.watch(network);
    await watch[Symbol.asyncDispose]();
    assertEquals(watch.damage, []);
  }],
];

const CARRIER: readonly Case[] = [
  ["sync() on two hosts carries packets of any size both ways", async (context) => {
    const { subject, lab, prepare } = context;
    const subnets = [OWN, "10.20.2.0/24"];
    const nodes = await Promise.all(lab.hosts.map((host, i) => prepare(subnets[i]!, host)));
    const all = () => new LeaseSet(nodes.map(({ own }) => own));
    for (const [i, { network, own }] of nodes.entries()) {
      assertEquals(await network.sync(own, all()), 0);
      assertEquals(network.status().peers, 1);
      await addDocker(lab.hosts[i]!, subnets[i]!);
    }
    const [here, there] = lab.hosts;
    const full = nodes[0]!.network.mtu - 28; // IPv4 20, ICMP 8
    const fragmented = async () => await here.fragmented() + await there.fragmented();

    const before = await fragmented();
    for (const size of [56, full]) {
      if (subject.device ?? true) {
        assertEquals(await here.ping("10.20.2.0", { size }), 1, `${size} bytes to the device`);
      }
      assertEquals(await here.ping("10.20.2.1", { size, source: "10.20.1.1" }), 1, `${size} bytes`);
      assertEquals(await there.ping("10.20.1.1", { size, source: "10.20.2.1" }), 1, `${size} back`);
    }
    assertEquals(await fragmented(), before, "a packet of the returned MTU was fragmented");
    assertEquals(await here.ping("10.20.2.1", { size: 8000, source: "10.20.1.1" }), 1);
    assertEquals(await there.ping("10.20.1.1", { size: 8000, source: "10.20.2.1" }), 1);
    assertNotEquals(await fragmented(), before);
  }],

  ["apply() ends where sync() would, and what left leaves nothing", async (context) => {
    const { subject, host, prepare } = context;
    const { network, own } = await prepare(OWN);
    const leases = new LeaseSet();
    await network.sync(own, leases);
    const alone = await host.state();

    const puts = peersOf(subject).map((put) => ({ put }));
    for (const put of puts) assertEquals(await network.apply(leases.apply([put])), 0);
    assertEquals(network.status().peers, puts.length);
    assertEquals(await host.changesDuring(() => network.sync(own, leases)), []);
    const together = await host.state();

    await network.apply(leases.apply(puts.map(({ put }) => ({ remove: put.subnet }))));
    assertEquals(network.status().peers, 0);
    assertEquals(await host.state(), alone);
    await network.apply(leases.apply(puts));
    assertEquals(await host.state(), together);
    await network.sync(own, new LeaseSet());
    assertEquals(await host.state(), alone);
  }],

  ["apply() follows a peer to another public IP", async ({ lab, prepare }) => {
    const [host, other] = lab.hosts;
    const here = await prepare(OWN);
    const there = await prepare("10.20.2.0/24", other);
    const leases = new LeaseSet([
      {
        ...there.own,
        attributes: { ...there.own.attributes, publicIP: host.external.address + 9 },
      },
    ]);
    await there.network.sync(there.own, new LeaseSet([here.own]));
    await here.network.sync(here.own, leases);
    await addDocker(other, "10.20.2.0/24");
    assertEquals(await host.ping("10.20.2.1"), 0);
    await here.network.apply(leases.apply([{ put: there.own }]));
    assertEquals(await host.ping("10.20.2.1"), 1);
    assertEquals(await host.changesDuring(() => here.network.sync(here.own, leases)), []);
  }],

  ["sync() programs no lease that could do harm, and logs why once", async (context) => {
    const { subject, host, prepare, log } = context;
    const { network, own } = await prepare(OWN);
    await host.namespace.ip(..."address add 198.51.100.9/32 dev lo".split(" "));
    await network.sync(own, new LeaseSet());
    const alone = await host.state();
    const harmful: readonly (readonly [Lease, string])[] = [
      [subject.lease("10.21.7.0/24", "172.28.128.104"), `is outside Network ${NETWORK}`],
      [subject.lease("10.0.0.0/8", "172.28.128.104"), `is outside Network ${NETWORK}`],
      [subject.lease("10.20.1.128/25", "172.28.128.104"), `overlaps our own subnet ${OWN}`],
      [subject.lease("10.20.0.0/20", "172.28.128.104"), `overlaps our own subnet ${OWN}`],
      [subject.lease("10.20.9.0/31", "172.28.128.104"), "is longer than /30"],
      [
        subject.lease("10.20.16.0/23", "172.28.128.104"),
        "is larger than a subnet of this network, /24",
      ],
      [
        subject.lease("10.20.11.0/24", "172.28.128.0"),
        "has public IP 172.28.128.0, the network address of 172.28.128.0/24",
      ],
      [
        subject.lease("10.20.12.0/24", "172.28.128.255"),
        "has public IP 172.28.128.255, the broadcast address of 172.28.128.0/24",
      ],
      [
        subject.lease("10.20.13.0/24", "198.51.100.9"),
        "has public IP 198.51.100.9, which is an address of this host",
      ],
      [subject.lease("10.20.10.0/24", host.address), `carries our own public IP ${host.address}`],
      ...["127.0.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255"].map((address, i) =>
        [
          subject.lease(`10.20.${20 + i}.0/24`, address),
          `has public IP ${address}, which no host can have`,
        ] as const
      ),
    ];
    const leases = new LeaseSet();
    const changes = await host.changesDuring(async () => {
      // By the watch, then by a resync, then by another change of the same leases.
      await network.apply(leases.apply(harmful.map(([put]) => ({ put }))));
      await network.sync(own, leases);
      await network.sync(own, leases);
    });
    assertEquals(changes, []);
    assertEquals(await host.state(), alone);
    const { peers, refused } = network.status();
    assertEquals(peers, 0);
    assertEquals(refused.size, harmful.length);
    for (const [{ subnet }, reason] of harmful) {
      const lines = log.filter((line) => line.includes(`Ignoring subnet ${subnet}:`));
      assertEquals(lines, [`W Ignoring subnet ${subnet}: it ${reason}`]);
    }

    // Put right, each is a peer like any other.
    const put = subject.lease("10.20.10.0/24", "172.28.128.104");
    await network.apply(leases.apply([{ put }]));
    assertEquals(network.status().peers, 1);
    assertEquals(network.status().refused.size, harmful.length - 1);
    if (subject.peerObjects ?? true) assertNotEquals(await host.state(), alone);
    await network.apply(leases.apply([...leases.values()].map((l) => ({ remove: l.subnet }))));
    assertEquals(network.status().peers, 0);
    assertEquals(network.status().refused, new Map());
    assertEquals(await host.state(), alone);
  }],

  [
    "sync() and apply() leave the host's own routes in place, and refuse the lease",
    async (context) => {
      const { subject, host, prepare, log } = context;
      const ip = (line: string) => host.namespace.ip(...line.split(" "));
      const { network, own } = await prepare(OWN);
      await ip("link add eth2 type veth peer name eth2-peer");
      await ip("link set eth2-peer up");
      await ip("link set eth2 up");
      await ip("address add 10.20.40.9/22 dev eth2");
      const foreign = [
        "10.20.30.0/24 via 172.28.128.9", // boot, as by hand
        "10.20.31.64/26 via 172.28.128.9 proto static",
        "blackhole 10.20.32.0/24 proto bird",
        "10.20.33.9 dev eth2 metric 7",
      ];
      for (const route of foreign) await ip(`route add ${route}`);
      await network.sync(own, new LeaseSet());
      const before = await host.state();
      const puts = ["30", "31", "32", "33", "41"].map((octet) => ({
        put: subject.lease(`10.20.${octet}.0/24`, "172.28.128.104"),
      }));
      const leases = new LeaseSet();
      assertEquals(await network.apply(leases.apply(puts)), 0);
      assertEquals(await network.sync(own, leases), 0);
      assertEquals(await host.state(), before);
      assertEquals([...network.status().refused.values()], [
        "meets the route to 10.20.30.0/24 via 172.28.128.9, which flanneld did not make",
        "meets the route to 10.20.31.64/26 via 172.28.128.9, which flanneld did not make",
        "meets the route to 10.20.32.0/24, which flanneld did not make",
        "meets the route to 10.20.33.9/32, which flanneld did not make",
        "meets 10.20.40.0/22, which an interface of this host is on",
      ]);
      assertEquals(log.filter((line) => line.startsWith("W")).length, puts.length);

      // Out of the way, each is a peer like any other; in the way again, it goes and they stay.
      await using watch = host.watch(network);
      const reported = async (what: RegExp) => {
        const deadline = performance.now() + 10_000;
        while (!watch.damage.some((report) => what.test(report))) {
          assert(performance.now() < deadline, `${what} is not in ${watch.damage}`);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        watch.damage.length = 0;
      };
      await ip("route del 10.20.30.0/24");
      await reported(/^route of this host to 10\.20\.30\.0\/24 removed$/);
      await network.sync(own, leases);
      assertEquals(network.status().peers, 1);
      await ip(`route replace ${foreign[0]}`);
      await reported(/^route (of this host )?to 10\.20\.30\.0\/24 (altered|added)$/);
      await network.sync(own, leases);
      assertEquals(network.status().peers, 0);
      assertEquals(await host.state(), before);
    },
  ],

  ["sync() takes its own lease among the others for what it is", async (context) => {
    const { host, prepare, log } = context;
    const { network, own } = await prepare(OWN);
    await network.sync(own, new LeaseSet());
    const alone = await host.state();
    const leases = new LeaseSet();
    await network.apply(leases.apply([{ put: own }]));
    await network.sync(own, leases);
    assertEquals(await host.state(), alone);
    assertEquals(network.status().peers, 0);
    assertEquals(log.filter((line) => line.startsWith("W")), []);
  }],

  ["sync() leaves alone what is not its own", async ({ subject, host, prepare }) => {
    const { namespace } = host;
    await namespace.ip("link", "add", "docker0", "type", "bridge");
    await namespace.ip("address", "add", "10.20.1.1/24", "dev", "docker0");
    await namespace.ip("link", "set", "docker0", "up");
    for (
      const route of [
        "198.51.100.0/24 via 172.28.128.9", // boot, as by hand
        "203.0.113.0/24 via 172.28.128.9 proto static",
        "10.20.1.64/26 dev docker0 proto bird",
        "10.99.2.0/24 via 172.28.128.101 proto 102", // an agent's for another network
        "10.0.0.0/8 via 172.28.128.9 metric 7",
      ]
    ) await namespace.ip("route", "add", ...route.split(" "));
    await namespace.ip(
      ..."neighbour add 172.28.128.50 lladdr 02:00:00:00:00:50 dev eth1 nud permanent".split(" "),
    );
    const before = await host.state();

    const { network, own } = await prepare(OWN);
    const leases = new LeaseSet();
    await network.sync(own, leases);
    await network.apply(leases.apply(peersOf(subject).map((put) => ({ put }))));
    await network.sync(own, leases);
    const after = new Set(await host.state());
    assertEquals(before.filter((line) => !after.has(line)), []);
    await network.remove();
    assertEquals(await host.state(), before);
  }],
];

/** Makes what stands for docker0: the address of a container's gateway. */
async function addDocker({ namespace }: BackendHost, subnet: string): Promise<void> {
  await namespace.ip("link", "add", "docker0", "type", "bridge");
  await namespace.ip("address", "add", subnet.replace(".0/", ".1/"), "dev", "docker0");
  await namespace.ip("link", "set", "docker0", "up");
}

function register(subject: BackendSubject, cases: readonly Case[]): void {
  const { backend, options = {} } = subject;
  for (const [sentence, run] of cases) {
    Deno.test(`${backend.type}: ${sentence}`, async () => {
      using log = captureLog();
      await using lab = await BackendLab.make();
      await using running = new AsyncDisposableStack();
      await run({
        subject,
        lab,
        host: lab.host,
        log: log.lines,
        prepare: async (subnet, host = lab.host, overrides = {}) => {
          const context = await host.context({ Type: backend.type, ...options }, overrides);
          const node = await prepare(backend, context, subnet);
          running.defer(() => node.network.close());
          return node;
        },
      });
    });
  }
}
