// rtnetlink against the kernel, each test in a namespace of its own. iproute2 is the second opinion.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { formatIPv4, parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import {
  type FdbEntry,
  type KernelEvent,
  libc,
  type Link,
  monitor,
  type Neighbour,
  Netlink,
  type Operation,
  type Route,
  SysError,
  unwrap,
  VXLAN,
} from "../../../mod/sys/mod.ts";
import { NetlinkSocket } from "../../../mod/sys/netlink/wire/socket.ts";
import { NetworkNamespace } from "../../lab/netns.ts";
import { IFF_UP, NUD_PERMANENT } from "../../../mod/sys/linux_constants.ts";

libc();

const RTPROT = 17;

const ip = (text: string) => parseIPv4(text)!;

/** A namespace with the underlay interface eth1, 192.168.56.101/24. */
async function underlay(): Promise<NetworkNamespace> {
  const namespace = await NetworkNamespace.create();
  await namespace.ip("link", "add", "eth1", "type", "veth", "peer", "name", "wire");
  await namespace.ip("link", "set", "wire", "up");
  await namespace.ip("link", "set", "eth1", "up");
  await namespace.ip("address", "add", "192.168.56.101/24", "dev", "eth1");
  return namespace;
}

function createFlannel(netlink: Netlink): Link {
  const link = netlink.createLink({
    name: "flannel.1",
    mtu: 1450,
    mac: "02:11:22:33:44:55",
    kind: VXLAN,
    attributes: {
      vni: 1,
      link: netlink.link("eth1")!.index,
      local: ip("192.168.56.101"),
      port: 8472,
      learning: false,
      gbp: false,
    },
  });
  netlink.setLink(link.index, { up: true });
  return link;
}

function macOf(number: number): string {
  const hex = number.toString(16).padStart(8, "0");
  return `02:00:${hex.match(/../g)!.join(":")}`;
}

/** The three objects of peer `number` of the network 10.0.0.0/8, in newer flannel's layout. */
function peer(
  index: number,
  number: number,
): { route: Route; neighbour: Neighbour; fdb: FdbEntry } {
  const address = ip("10.0.0.0") + number * 256;
  const mac = macOf(number);
  return {
    route: {
      destination: new Prefix(address, 24),
      gateway: address,
      oif: index,
      onlink: true,
      protocol: RTPROT,
      scope: 0,
      table: 254,
      metric: number >> 8,
    },
    neighbour: { index, address, mac, state: NUD_PERMANENT },
    fdb: { index, mac, destination: ip("172.16.0.0") + number, state: NUD_PERMANENT },
  };
}

function operations(op: Operation["op"], index: number, count: number): Operation[] {
  return Array.from({ length: count }, (_, number) => {
    const { route, neighbour, fdb } = peer(index, number);
    return [
      { op, kind: "neighbour", object: neighbour },
      { op, kind: "fdb", object: fdb },
      { op, kind: "route", object: route },
    ] satisfies Operation[];
  }).flat();
}

const byText = (a: unknown, b: unknown) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;

Deno.test("Netlink.createLink() makes the device that iproute2 describes", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const eth1 = netlink.link("eth1")!;
  const link = netlink.createLink({
    name: "flannel.7",
    mtu: 1400,
    mac: "c6:8a:3d:5f:56:2e",
    kind: VXLAN,
    attributes: {
      vni: 7,
      link: eth1.index,
      local: ip("192.168.56.101"),
      port: 4789,
      learning: false,
      gbp: true,
    },
  });
  const { data: _, ...rest } = link;
  assertEquals({ ...rest, vxlan: VXLAN.of(link) }, {
    index: link.index,
    name: "flannel.7",
    flags: link.flags,
    mtu: 1400,
    mac: "c6:8a:3d:5f:56:2e",
    kind: "vxlan",
    vxlan: {
      vni: 7,
      link: eth1.index,
      local: ip("192.168.56.101"),
      port: 4789,
      learning: false,
      gbp: true,
      l2miss: false,
      l3miss: false,
    },
  });
  const [shown] = JSON.parse(await namespace.ip("-d", "-j", "link", "show", "flannel.7"));
  assertEquals(
    [shown.ifindex, shown.mtu, shown.address, shown.linkinfo.info_kind],
    [link.index, 1400, "c6:8a:3d:5f:56:2e", "vxlan"],
  );
  const { id, link: via, local, port, learning } = shown.linkinfo.info_data;
  // iproute2 prints a flag as a key without a value.
  const gbp = "gbp" in shown.linkinfo.info_data;
  assertEquals({ id, via, local, port, learning, gbp }, {
    id: 7,
    via: "eth1",
    local: "192.168.56.101",
    port: 4789,
    learning: false,
    gbp: true,
  });

  const error = assertThrows(
    () =>
      netlink.createLink({ ...link, kind: VXLAN, attributes: { ...VXLAN.of(link)!, local: 1 } }),
    SysError,
  );
  assertEquals([error.syscall, error.code], ["RTM_NEWLINK", "EEXIST"]);
});

Deno.test("Netlink.links() sees what iproute2 sees", async () => {
  await using namespace = await underlay();
  await namespace.ip(
    ..."link add v1 type vxlan id 9 group 239.1.1.1 dev eth1 dstport 8472 learning l2miss l3miss"
      .split(" "),
  );
  await namespace.ip("link", "add", "br0", "type", "bridge");
  await namespace.ip("tuntap", "add", "tun0", "mode", "tun");
  await namespace.ip("link", "property", "add", "dev", "br0", "altname", "a-name-of-over-15-bytes");
  using netlink = Netlink.open({ netns: namespace.path });
  const links = netlink.links();
  const shown = JSON.parse(await namespace.ip("-d", "-j", "link", "show")) as {
    ifindex: number;
    ifname: string;
    mtu: number;
    link_type: string;
    address?: string;
    flags: string[];
    linkinfo?: { info_kind?: string };
  }[];
  assertEquals(
    links.map(({ index, name, mtu, mac, kind, flags }) => ({
      index,
      name,
      mtu,
      mac,
      kind,
      up: (flags & IFF_UP) !== 0,
    })).sort(byText),
    shown.map((link) => ({
      index: link.ifindex,
      name: link.ifname,
      mtu: link.mtu,
      // A TUN device has none; iproute2 leaves the field out.
      mac: link.link_type === "none" ? undefined : link.address,
      kind: link.linkinfo?.info_kind,
      up: link.flags.includes("UP"),
    })).sort(byText),
  );
  assertEquals(VXLAN.of(links.find(({ name }) => name === "v1")!), {
    vni: 9,
    link: netlink.link("eth1")!.index,
    group: ip("239.1.1.1"),
    port: 8472,
    learning: true,
    gbp: false,
    l2miss: true,
    l3miss: true,
  });
  assertEquals(netlink.link("a-name-of-over-15-bytes")?.name, "br0");
  for (const link of links) {
    assertEquals(netlink.link(link.name), link);
    assertEquals(netlink.linkByIndex(link.index), link);
  }
  assertEquals([netlink.link("eth9"), netlink.linkByIndex(4711)], [undefined, undefined]);
});

Deno.test("Netlink.setLink() and deleteLink() change what iproute2 shows", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  netlink.setLink(index, { mtu: 1300, mac: "02:11:22:33:44:56" });
  const show = async () => JSON.parse(await namespace.ip("-j", "link", "show", "flannel.1"))[0];
  const changed = await show();
  assertEquals([changed.mtu, changed.address], [1300, "02:11:22:33:44:56"]);
  assert(changed.flags.includes("UP"));
  netlink.setLink(index, { up: false });
  assert(!(await show()).flags.includes("UP"));
  const error = assertThrows(() => netlink.setLink(index, { mtu: 20 }), SysError);
  assertEquals(error.code, "EINVAL");
  // The kernel's own words.
  assertEquals(error.detail, "mtu less than device minimum");
  assertEquals([netlink.deleteLink(index), netlink.deleteLink(index)], [true, false]);
  assertEquals(netlink.link("flannel.1"), undefined);
  assertThrows(() => netlink.setLink(index, { up: true }), SysError, "ENODEV");
});

Deno.test("Netlink.addresses() reads what execute() and iproute2 set", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const own = { index, address: ip("10.20.93.0"), prefixLength: 32, scope: 0, flags: 0 };
  const add: Operation = { op: "add", kind: "address", object: own };
  assertEquals(netlink.execute([add]).failures, []);
  assertEquals(netlink.execute([add]).failures[0]!.error.code, "EEXIST");
  assertEquals(netlink.execute([{ ...add, op: "replace" }]).failures, []);
  await namespace.ip("address", "add", "10.20.93.1/24", "dev", "flannel.1", "scope", "link");
  assertEquals(netlink.addresses({ index }).sort(byText), [
    { ...own, flags: NUD_PERMANENT },
    { index, address: ip("10.20.93.1"), prefixLength: 24, scope: 253, flags: 0x80 },
  ]);
  const [shown] = JSON.parse(await namespace.ip("-j", "-4", "address", "show", "flannel.1"));
  assertEquals(shown.addr_info.map((info: { local: string }) => info.local).sort(), [
    "10.20.93.0",
    "10.20.93.1",
  ]);
  assert(netlink.addresses().some(({ address }) => address === ip("127.0.0.1")));
  assertEquals(netlink.addresses({ index: 4711 }), []);
  const remove: Operation = { op: "delete", kind: "address", object: own };
  assertEquals(netlink.execute([remove, remove]), { applied: 2, failures: [], systemCalls: 2 });
  assertEquals(netlink.addresses({ index }).length, 1);
});

Deno.test("Netlink.routes() reads what execute() and iproute2 set, and filters", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const eth1 = netlink.link("eth1")!.index;
  const { route } = peer(index, 1);
  const direct: Route = {
    destination: Prefix.parse("10.9.0.0/16")!,
    gateway: ip("192.168.56.102"),
    oif: eth1,
    onlink: false,
    protocol: RTPROT,
    scope: 0,
    table: 1000,
    source: ip("192.168.56.101"),
    metric: 7,
  };
  const { failures } = netlink.execute([
    { op: "add", kind: "route", object: route },
    { op: "add", kind: "route", object: direct },
  ]);
  assertEquals(failures, []);
  assertEquals(netlink.routes({ oif: index }), [route]);
  assertEquals(netlink.routes({ table: 1000 }), [direct]);
  assertEquals(netlink.routes({ protocol: RTPROT, table: 254 }), [route]);
  assertEquals(netlink.routes({ table: 4711 }), []);
  assertEquals(netlink.routes({ oif: 4711 }), []);
  const [shown] = JSON.parse(await namespace.ip("-j", "route", "show", "dev", "flannel.1"));
  assertEquals(shown, {
    dst: "10.0.1.0/24",
    gateway: "10.0.1.0",
    protocol: String(RTPROT),
    flags: ["onlink"],
  });
  await namespace.ip("route", "add", "blackhole", "10.10.0.0/16");
  await namespace.ip(
    ..."route add 10.11.0.0/16 nexthop via 192.168.56.9 dev eth1 nexthop via 192.168.56.10 dev eth1"
      .split(" "),
  );
  await namespace.ip("route", "add", "default", "via", "192.168.56.1");
  assertEquals(
    netlink.routes({ table: 254 }).map(({ destination, gateway }) =>
      `${destination} ${gateway === undefined ? "-" : formatIPv4(gateway)}`
    ),
    [
      "0.0.0.0/0 192.168.56.1",
      "10.0.1.0/24 10.0.1.0",
      "10.11.0.0/16 192.168.56.9",
      "192.168.56.0/24 -",
    ],
  );
});

Deno.test("Netlink.execute() deletes the route that matches in every field and no other", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const { route } = peer(index, 1);
  await namespace.ip("route", "add", "blackhole", "10.0.1.0/24", "metric", "5");
  netlink.execute([{ op: "add", kind: "route", object: route }]);
  for (
    const other of [
      { ...route, protocol: 18 },
      { ...route, gateway: route.gateway! + 1 },
      { ...route, metric: 5 },
      { ...route, table: 4711 },
      { ...route, oif: netlink.link("eth1")!.index },
    ]
  ) {
    const result = netlink.execute([{ op: "delete", kind: "route", object: other }]);
    assertEquals([result.applied, result.failures], [1, []]);
    assertEquals(netlink.routes({ oif: index }), [route]);
  }
  netlink.execute([{ op: "delete", kind: "route", object: route }]);
  assertEquals(netlink.routes({ oif: index }), []);
  assert((await namespace.ip("route", "show")).includes("blackhole 10.0.1.0/24"));
});

Deno.test("Netlink.routeTo() answers as `ip route get` does", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const eth1 = netlink.link("eth1")!.index;
  const source = ip("192.168.56.101");
  assertEquals(netlink.routeTo(ip("192.168.56.102")), { oif: eth1, source });
  const error = assertThrows(() => netlink.routeTo(ip("203.0.113.1")), SysError);
  assertEquals([error.syscall, error.code], ["RTM_GETROUTE", "ENETUNREACH"]);
  await namespace.ip("route", "add", "default", "via", "192.168.56.1");
  assertEquals(netlink.routeTo(ip("203.0.113.1")), {
    oif: eth1,
    source,
    gateway: ip("192.168.56.1"),
  });
  await namespace.ip("route", "add", "unreachable", "203.0.113.0/24");
  assertThrows(() => netlink.routeTo(ip("203.0.113.1")), SysError, "EHOSTUNREACH");
});

Deno.test("Netlink.neighbours() and fdb() read what execute() and iproute2 set", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const { neighbour, fdb } = peer(index, 1);
  const moved = { ...fdb, destination: ip("172.16.9.9") };
  assertEquals(
    netlink.execute([
      { op: "add", kind: "neighbour", object: neighbour },
      { op: "add", kind: "fdb", object: fdb },
      { op: "replace", kind: "fdb", object: moved },
    ]).failures,
    [],
  );
  assertEquals(netlink.neighbours({ index }), [neighbour]);
  assertEquals(netlink.fdb({ index }), [moved]);
  const [entry] = JSON.parse(await namespace.bridge("-j", "fdb", "show", "dev", "flannel.1"));
  assertEquals([entry.mac, entry.dst, entry.state], [fdb.mac, "172.16.9.9", "permanent"]);
  const [shown] = JSON.parse(await namespace.ip("-j", "neigh", "show", "dev", "flannel.1"));
  assertEquals([shown.dst, shown.lladdr, shown.state], ["10.0.1.0", neighbour.mac, ["PERMANENT"]]);

  // An entry of eth1, and one without a MAC.
  await namespace.ip(
    ..."neigh add 192.168.56.9 lladdr 02:00:00:00:00:09 dev eth1 nud reachable".split(" "),
  );
  await namespace.ip(..."neigh add 192.168.56.8 dev eth1 nud failed".split(" "));
  assertEquals(netlink.neighbours({ index }), [neighbour]);
  assertEquals(netlink.neighbours().map(({ address }) => formatIPv4(address)).sort(), [
    "10.0.1.0",
    "192.168.56.9",
  ]);
  assertEquals([netlink.neighbours({ index: 4711 }), netlink.fdb({ index: 4711 })], [[], []]);

  const gone = netlink.execute([
    { op: "delete", kind: "fdb", object: fdb }, // its destination is another one by now
    { op: "delete", kind: "neighbour", object: neighbour },
  ]);
  assertEquals([gone.applied, gone.failures], [2, []]);
  assertEquals([netlink.neighbours({ index }), netlink.fdb({ index })], [[], [moved]]);
});

Deno.test("Netlink.execute() executes a batch around its failures and returns the reason of each", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const unreachable: Operation = {
    op: "add",
    kind: "route",
    object: { ...peer(index, 9000).route, onlink: false },
  };
  const batch = operations("add", index, 1000);
  batch.splice(1500, 0, unreachable, batch[0]!);
  batch.push({ ...batch[1]!, op: "delete" }, { ...batch[1]!, op: "delete" });
  const result = netlink.execute(batch);
  assertEquals(result.applied, 3002);
  assertEquals(
    result.failures.map(({ operation, error }) => [operation, error.code, error.detail]),
    [
      [unreachable, "ENETUNREACH", "Nexthop has invalid gateway"],
      [batch[0]!, "EEXIST", undefined],
    ],
  );
  assertEquals(netlink.routes({ oif: index }).length, 1000);
  assertEquals(netlink.neighbours({ index }).length, 1000);
  assertEquals(netlink.fdb({ index }).length, 999);
});

Deno.test("Netlink.execute() needs at most 10 system calls per 100 objects, even if all fail", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const peers = 5000;
  const added = netlink.execute(operations("add", index, peers));
  assertEquals([added.applied, added.failures.length], [3 * peers, 0]);
  assert(added.systemCalls <= 3 * peers / 100, `${added.systemCalls} system calls`);

  const expected = Array.from({ length: peers }, (_, number) => peer(index, number));
  assertEquals(netlink.routes({ oif: index }), expected.map(({ route }) => route));
  const addressOrder = (a: Neighbour, b: Neighbour) => a.address - b.address;
  assertEquals(
    netlink.neighbours({ index }).sort(addressOrder),
    expected.map(({ neighbour }) => neighbour),
  );
  assertEquals(
    netlink.fdb({ index }).sort((a, b) => a.destination! - b.destination!),
    expected.map(({ fdb }) => fdb),
  );

  const again = netlink.execute(operations("add", index, peers));
  assertEquals([again.applied, again.failures.length], [0, 3 * peers]);
  assert(again.failures.every(({ error }) => error.code === "EEXIST"));
  assert(again.systemCalls <= 3 * peers / 10, `${again.systemCalls} system calls`);

  const removed = netlink.execute(operations("delete", index, peers));
  assertEquals([removed.applied, removed.failures.length], [3 * peers, 0]);
  assertEquals(netlink.routes({ oif: index }), []);
});

Deno.test("Netlink.execute() loses no failure when the kernel runs out of room for them", async () => {
  await using namespace = await underlay();
  const socket = NetlinkSocket.open({ netns: namespace.path });
  using netlink = new Netlink(socket);
  const { index } = createFlannel(netlink);
  netlink.execute(operations("add", index, 100).filter((_, i) => i % 2 === 0));
  // Behind the back of the socket, which sized its sends by the room it had: SO_RCVBUF, to the
  // smallest the kernel grants (2,304 bytes).
  const least = new Uint8Array(new ArrayBuffer(4));
  least[0] = 1;
  unwrap("setsockopt", libc().setsockopt(socket.fd, 1, 8, least, 4));

  // Every second one exists.
  const replaced = netlink.execute(operations("replace", index, 100));
  assertEquals([replaced.applied, replaced.failures], [300, []]);
  const refused = operations("replace", index, 100).map((operation, i) =>
    i % 3 === 1
      ? { ...operation, object: { ...operation.object, index: 4711 } } as Operation
      : operation
  );
  const result = netlink.execute(refused);
  assertEquals(result.applied, 200);
  assertEquals(result.failures.length, 100);
  // Two calls would do with room enough.
  assert(result.systemCalls > 20, `${result.systemCalls} system calls: nothing overran`);
  assert(result.failures.every(({ error }) => error.code === "ENODEV"));
  assertEquals(
    result.failures.map(({ operation }) => operation),
    refused.filter((_, i) => i % 3 === 1),
  );
});

Deno.test("Netlink.open() returns to its own namespace", async () => {
  await using namespace = await underlay();
  const before = await Deno.readLink("/proc/thread-self/ns/net");
  using netlink = Netlink.open({ netns: namespace.path });
  assertEquals(await Deno.readLink("/proc/thread-self/ns/net"), before);
  assert(netlink.link("eth1") !== undefined);
  const error = assertThrows(() => Netlink.open({ netns: "/run/netns/no-such" }), SysError);
  assertEquals(error.message, "open /run/netns/no-such: ENOENT: no such file or directory");
  const wrong = assertThrows(() => Netlink.open({ netns: "/etc/passwd" }), SysError);
  assertEquals([wrong.syscall, wrong.code], ["setns", "EINVAL"]);
  assertEquals(await Deno.readLink("/proc/thread-self/ns/net"), before);
  assertThrows(() => namespace.enter(() => Promise.resolve()), TypeError, "synchronous");
  assertEquals(await Deno.readLink("/proc/thread-self/ns/net"), before);
});

Deno.test("Netlink gives its descriptor back and refuses to be used after", async () => {
  await using namespace = await underlay();
  const descriptors = () => Array.from(Deno.readDirSync("/proc/self/fd")).length;
  const before = descriptors();
  for (let i = 0; i < 50; i++) {
    using netlink = Netlink.open({ netns: namespace.path });
    assert(netlink.links().length > 0);
  }
  assertEquals(descriptors(), before);
  const netlink = Netlink.open({ netns: namespace.path });
  netlink[Symbol.dispose]();
  netlink[Symbol.dispose]();
  assertThrows(() => netlink.links(), TypeError, "closed");
});

/** Collects events until `enough` returns true; fails after a minute. */
async function collect(
  events: AsyncIterable<KernelEvent[]>,
  enough: (events: KernelEvent[]) => boolean,
): Promise<KernelEvent[]> {
  const all: KernelEvent[] = [];
  for await (const some of events) {
    all.push(...some);
    if (enough(all)) return all;
  }
  throw new Error(`the monitor ended after ${JSON.stringify(all)}`);
}

Deno.test("monitor() reports changes and deletions of others", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const own = { index, address: ip("10.20.93.0"), prefixLength: 32, scope: 0, flags: 0 };
  const { route, neighbour, fdb } = peer(index, 1);
  const signal = AbortSignal.timeout(60_000);
  // From here on, though nobody iterates yet.
  const events = monitor(["link", "address", "route", "neighbour"], {
    netns: namespace.path,
    signal,
  });
  netlink.execute([
    { op: "add", kind: "address", object: own },
    { op: "add", kind: "route", object: route },
    { op: "add", kind: "neighbour", object: neighbour },
    { op: "add", kind: "fdb", object: fdb },
  ]);
  await namespace.ip("route", "del", "10.0.1.0/24");
  await namespace.ip("neigh", "del", "10.0.1.0", "dev", "flannel.1");
  await namespace.bridge("fdb", "del", fdb.mac, "dev", "flannel.1", "dst", "172.16.0.1", "self");
  await namespace.ip("address", "del", "10.20.93.0/32", "dev", "flannel.1");
  await namespace.ip("link", "set", "flannel.1", "mtu", "1300");
  await namespace.ip("link", "del", "flannel.1");
  const all = await collect(events, (all) => all.at(-1)!.type === "link-removed");
  const has = (wanted: KernelEvent) => {
    const text = JSON.stringify(wanted);
    assert(
      all.some(({ sender: _, ...event }) => JSON.stringify(event) === text),
      `${text} is not among ${JSON.stringify(all)}`,
    );
  };
  // Events of links and FDB entries do not name the sender; all others do.
  for (const type of ["address", "route", "neighbour"] as const) {
    const made = all.filter((event) => event.type === type && event.sender !== undefined);
    assert(made.length > 0 && made.every((event) => netlink.isOwn(event)), type);
    const removed = all.filter((event) => event.type === `${type}-removed`);
    assert(removed.length > 0 && !removed.some((event) => netlink.isOwn(event)), type);
  }
  has({ type: "address", address: { ...own, flags: 0x80 } });
  has({ type: "address-removed", address: { ...own, flags: 0x80 } });
  const seen = all.find((event) => event.type === "route" && event.route.protocol === RTPROT);
  assertEquals({ ...seen, sender: 0 }, { type: "route", route, sender: 0 });
  const gone = all.find((event) =>
    event.type === "route-removed" && event.route.protocol === RTPROT
  );
  assertEquals({ ...gone, sender: 0 }, { type: "route-removed", route, sender: 0 });
  has({
    type: "neighbour",
    neighbour: { index, address: neighbour.address, mac: neighbour.mac, state: 0x80 },
  });
  has({ type: "neighbour-removed", neighbour: { index, address: neighbour.address } });
  const kinds = all.filter((event) => event.type.startsWith("fdb"));
  assertEquals(kinds, [{ type: "fdb", entry: fdb }, { type: "fdb-removed", entry: fdb }]);
  const mtus = all.flatMap((event) => event.type === "link" ? [event.link.mtu] : []);
  assertEquals(mtus.at(-1), 1300);
  const last = all.at(-1)!;
  assertEquals(last.type === "link-removed" && last.link.name, "flannel.1");
});

Deno.test("monitor() reports that it lost events, and goes on", async () => {
  await using namespace = await underlay();
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = createFlannel(netlink);
  const events = monitor(["neighbour"], {
    netns: namespace.path,
    signal: AbortSignal.timeout(60_000),
    receiveBuffer: 4096,
  });
  netlink.execute(operations("add", index, 100));
  const after = { ...peer(index, 500).neighbour };
  let isReported = false;
  const all: KernelEvent[] = [];
  for await (const some of events) {
    all.push(...some);
    if (!isReported && all.some(({ type }) => type === "overrun")) {
      isReported = true;
      netlink.execute([{ op: "add", kind: "neighbour", object: after }]);
    }
    const last = all.at(-1)!;
    if (last.type === "neighbour" && last.neighbour.address === after.address) break;
  }
  assert(isReported);
  assert(all.length < 200);
});

Deno.test("monitor() ends at once when aborted, and gives its descriptors back", async () => {
  await using namespace = await underlay();
  const descriptors = () => Array.from(Deno.readDirSync("/proc/self/fd")).length;
  const before = descriptors();
  for (let i = 0; i < 5; i++) {
    const abort = new AbortController();
    const events = monitor(["link"], { netns: namespace.path, signal: abort.signal });
    const ended = (async () => {
      for await (const _ of events);
    })();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const start = performance.now();
    abort.abort();
    await ended;
    assert(performance.now() - start < 500);
  }
  // Never iterated, aborted before or after.
  const abort = new AbortController();
  const unused = monitor(["link"], { netns: namespace.path, signal: abort.signal });
  abort.abort();
  for await (const _ of unused) throw new Error("an event after the end");
  monitor(["link"], { netns: namespace.path, signal: AbortSignal.abort() });
  // Left by break.
  using netlink = Netlink.open({ netns: namespace.path });
  const signal = new AbortController().signal;
  const left = monitor(["link"], { netns: namespace.path, signal });
  netlink.setLink(netlink.link("wire")!.index, { mtu: 1400 });
  for await (const _ of left) break;
  netlink[Symbol.dispose]();
  assertEquals(descriptors(), before);
});

Deno.test("Netlink.linkStatistics() counts as iproute2 does", async () => {
  await using namespace = await underlay();
  await namespace.ip("neighbour", "add", "192.168.56.7", "lladdr", macOf(7), "dev", "eth1");
  await namespace.exec("busybox", "ping", "-c", "3", "-i", "0.1", "-W", "1", "192.168.56.7")
    .catch(() => {}); // nobody answers
  using netlink = Netlink.open({ netns: namespace.path });
  // Whatever else the kernel sends by itself has an end.
  const [{ stats64 }] = JSON.parse(
    await namespace.ip("-json", "-statistics", "link", "show", "dev", "wire"),
  );
  const is = netlink.linkStatistics(netlink.link("wire")!.index);
  assert(is.receivedPackets >= 3 && is.receivedPackets >= stats64.rx.packets);
  assert(is.receivedBytes >= 3 * 98 && is.receivedBytes >= stats64.rx.bytes);
  assertEquals(is.receiveErrors, stats64.rx.errors);
  assertThrows(() => netlink.linkStatistics(12345), SysError, "ENODEV");
});
