import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Network } from "../../../backends/backend.ts";
import type { BackendHost } from "../../../backends/testing/backend_lab.ts";
import { formatIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { type Lease, leaseKey } from "../../../mod/lease/mod.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { type BatchResult, Netlink, type Operation } from "../../../mod/sys/mod.ts";
import { NetlinkSocket } from "../../../mod/sys/netlink/wire/socket.ts";
import { bridge, ip, macOf, OWN, prepareVxlan, test, vxlanLease } from "./vxlan_lab.ts";

/** Random changes per sequence, and sequences: compares 300 states of the kernel. */
const STEPS = 10;
const ROWS = 30;

/** Subnets that share a base address, contain each other, or may not be programmed. */
const SUBNETS = [
  ...["10.20.2.0/24", "10.20.3.0/24", "10.20.4.0/24", "10.20.4.0/25", "10.20.4.0/26"],
  ...["10.20.200.0/24", "10.20.9.0/30"],
  ...[OWN, "10.20.0.0/22", "10.20.128.0/17", "10.20.9.0/31", "10.21.2.0/24"],
];
/** Those of them that must not be programmed. */
const REFUSED = [OWN, "10.20.0.0/22", "10.20.128.0/17", "10.20.9.0/31", "10.21.2.0/24"];
/** Hosts on our link, behind a gateway, and not at all. */
const PUBLIC_IPS = [
  ...["172.28.128.101", "172.28.128.102", "172.28.128.103", "172.29.0.7", "172.29.0.8"],
  ...["172.28.128.100", "127.0.0.1"],
];
/** Shared by several hosts, as while one changes its address. */
const COMMON_MAC = "0a:00:00:00:00:cc";

/** A netlink connection that counts its changes. */
class CountingNetlink extends Netlink {
  operations = 0;

  override execute(operations: Iterable<Operation>): BatchResult {
    const all = [...operations];
    this.operations += all.length;
    return super.execute(all);
  }
}

const lease = fc.record({
  subnet: fc.constantFrom(...SUBNETS),
  publicIP: fc.constantFrom(...PUBLIC_IPS),
  mac: fc.constantFrom("own", "own", "own", COMMON_MAC, "01:00:5e:00:00:01"),
}).map(({ subnet, publicIP, mac }) =>
  vxlanLease(subnet, publicIP, mac === "own" ? macOf(publicIP) : mac)
);

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      events: fc.array(
        fc.oneof(
          { weight: 2, arbitrary: fc.record({ put: lease }) },
          {
            weight: 1,
            arbitrary: fc.record({
              remove: fc.constantFrom(...SUBNETS).map((subnet) => Prefix.parse(subnet)!),
            }),
          },
        ),
        { minLength: 1, maxLength: 6 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ snapshot: fc.array(lease, { maxLength: 8 }) }) },
  { weight: 1, arbitrary: fc.record({ restart: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ damage: fc.constantFrom("device", "link", "tables") }) },
);

/** Desired kernel objects; an object of several leases may be that of any of them. */
interface Wanted {
  /** By destination: `via GATEWAY dev OIF onlink`. */
  readonly routes: Record<string, string>;
  readonly neighbours: Record<string, Set<string>>;
  readonly fdb: Record<string, Set<string>>;
}

/**
 * Computes the expected objects from all leases, from the documented rules and without the backend's code. Only the
 * backend knows which of several hosts had a MAC first; this function requires that exactly one of them has it.
 */
function wanted(leases: Iterable<Lease>, directRouting: boolean, network?: Network): Wanted {
  const holders = new Map<string, Set<string>>();
  const others: { readonly mac: string; readonly publicIP: string }[] = [];
  const routes: Record<string, string> = {};
  const neighbours: Record<string, Set<string>> = {};
  const fdb: Record<string, Set<string>> = {};
  for (const { subnet, attributes } of leases) {
    const publicIP = formatIPv4(attributes.publicIP);
    const mac = (attributes.backendData as { VtepMAC: string }).VtepMAC;
    const refused = REFUSED.includes(`${subnet}`) ||
      publicIP === "172.28.128.100" || publicIP === "127.0.0.1" ||
      mac.startsWith("01:");
    if (refused) continue;
    const reason = network?.status().refused.get(leaseKey(subnet));
    if (reason !== undefined) {
      assert(reason.endsWith("which had it first"), reason);
      others.push({ mac, publicIP });
      continue;
    }
    holders.set(mac, (holders.get(mac) ?? new Set()).add(publicIP));
    const base = formatIPv4(subnet.address);
    if (directRouting && publicIP.startsWith("172.28.128.")) {
      routes[`${subnet}`] = `via ${publicIP} dev eth1`;
    } else {
      routes[`${subnet}`] = `via ${base} dev flannel.1 onlink`;
      (neighbours[base] ??= new Set()).add(mac);
      (fdb[mac] ??= new Set()).add(publicIP);
    }
  }
  if (network !== undefined) {
    for (const [mac, { size }] of holders) assertEquals(size, 1, `hosts with ${mac}`);
    for (const { mac, publicIP } of others) {
      assert(holders.has(mac) && !holders.get(mac)!.has(publicIP), `${publicIP} is refused ${mac}`);
    }
  }
  return { routes, neighbours, fdb };
}

/** Compares the kernel's tables with what is wanted. */
function compare(host: BackendHost, { routes, neighbours, fdb }: Wanted): void {
  const { netlink } = host;
  const device = netlink.link("flannel.1")!;
  assertEquals(
    netlink.addresses({ index: device.index }).map(({ address, prefixLength }) =>
      `${formatIPv4(address)}/${prefixLength}`
    ),
    ["10.20.1.0/32"],
  );
  const names = new Map([[device.index, "flannel.1"], [host.external.index, "eth1"]]);
  // Another program's route by another device may stay until a peer needs its place.
  const actual = netlink.routes({ table: 254 }).filter(({ destination, protocol, oif }) =>
    protocol === 102 || oif === device.index || routes[`${destination}`] !== undefined
  );
  assertEquals(
    Object.fromEntries(actual.map(({ destination, gateway, oif, onlink, protocol }) => {
      assertEquals(protocol, 102);
      return [
        `${destination}`,
        `via ${formatIPv4(gateway!)} dev ${names.get(oif)}${onlink ? " onlink" : ""}`,
      ];
    })),
    routes,
  );
  assertEquals(actual.length, Object.keys(routes).length);
  const permanent = netlink.neighbours({ index: device.index });
  assertEquals(permanent.map(({ address }) => formatIPv4(address)).sort(), keys(neighbours));
  for (const { address, mac, state } of permanent) {
    assertEquals(state, 0x80);
    assert(neighbours[formatIPv4(address)]!.has(mac), `${formatIPv4(address)} is at ${mac}`);
  }
  const entries = netlink.fdb({ index: device.index })
    .filter(({ destination }) => destination !== undefined);
  assertEquals(entries.map(({ mac }) => mac).sort(), keys(fdb));
  for (const { mac, destination, state } of entries) {
    assertEquals(state, 0x80);
    assert(fdb[mac]!.has(formatIPv4(destination!)), `${mac} is at ${formatIPv4(destination!)}`);
  }
}

function keys(object: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(object).sort();
}

/** Does to the host what a careless administrator might. */
async function damage(host: BackendHost, what: string): Promise<void> {
  switch (what) {
    case "device":
      return await ip(host, "link del flannel.1");
    case "link":
      return await ip(host, "link set flannel.1 down");
    case "tables":
      await ip(host, "route flush proto 102");
      await ip(host, "route replace 10.20.4.0/24 via 172.28.128.9 proto 102");
      await ip(host, "route add 10.20.77.0/24 dev flannel.1 proto static");
      await ip(host, "neighbour flush dev flannel.1 nud permanent");
      await ip(host, `neighbour add 10.20.4.0 lladdr ${COMMON_MAC} dev flannel.1 nud stale`);
      await bridge(host, `fdb append ${COMMON_MAC} dev flannel.1 dst 172.28.128.200`);
      await bridge(host, `fdb append ${COMMON_MAC} dev flannel.1 dst 172.28.128.201`);
  }
}

for (const directRouting of [false, true]) {
  const how = directRouting ? " with DirectRouting" : "";
  test(`the kernel holds what the leases ask for, whatever happens${how}`, async ({ host }) => {
    await ip(host, "route add 172.29.0.0/16 via 172.28.128.1");
    using netlink = new CountingNetlink(
      NetlinkSocket.open({ netns: host.namespace.path }),
    );
    const start = async (leases: LeaseSet): Promise<{ network: Network; own: Lease }> => {
      const node = await prepareVxlan(host, { DirectRouting: directRouting }, { netlink });
      assertEquals(await node.network.sync(node.own, leases), 0);
      return node;
    };
    let looks = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: STEPS, maxLength: STEPS }),
        async (steps) => {
          const leases = new LeaseSet();
          let { network, own } = await start(leases);
          for (const step of steps) {
            if ("events" in step) {
              const before = netlink.operations;
              assertEquals(await network.apply(leases.apply(step.events)), 0);
              const operations = netlink.operations - before;
              // Three objects leave and three come; another claim may take the place of two.
              assert(operations <= 8 * step.events.length, `${operations} operations`);
            } else if ("snapshot" in step) {
              assertEquals(await network.apply(leases.replace(step.snapshot)), 0);
            } else if ("restart" in step) {
              ({ network, own } = await start(leases));
            } else {
              await damage(host, step.damage);
              assertEquals(await network.sync(own, leases), 0);
            }
            compare(host, wanted(leases.values(), directRouting, network));
            looks++;
            const before = netlink.operations;
            if (looks % 3 === 0) await network.sync(own, leases);
            if (!sharesObjects(leases)) assertEquals(netlink.operations, before);
          }
        },
      ),
      { numRuns: ROWS },
    );
    assert(looks >= STEPS * ROWS);
  });
}

/** Returns whether a sync may choose again among several leases with one object. */
function sharesObjects(leases: LeaseSet): boolean {
  const { neighbours, fdb } = wanted(leases.values(), false);
  return [...Object.values(neighbours), ...Object.values(fdb)].some(({ size }) => size > 1);
}
