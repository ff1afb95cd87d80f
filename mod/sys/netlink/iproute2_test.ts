// The codec against bytes that iproute2 exchanged with the kernel (see _iproute2.ts).

import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import { REPLIES, REQUESTS } from "./_iproute2.ts";
import { readAddress, RTM_DELADDR, RTM_NEWADDR, writeAddress } from "./objects/address.ts";
import { readLink, writeLinkChange, writeLinkDeletion, writeNewLink } from "./objects/link.ts";
import { VXLAN } from "./objects/vxlan.ts";
import { MessageCursor, NLMSG_DONE } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import {
  readFdbEntry,
  readNeighbour,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  writeFdbEntry,
  writeNeighbour,
} from "./objects/neighbour.ts";
import {
  readRoute,
  readRouteLookup,
  RTM_DELROUTE,
  RTM_NEWROUTE,
  writeRoute,
} from "./objects/route.ts";
import type { FdbEntry, InterfaceAddress, Neighbour, Route } from "./wire/types.ts";
import { NUD_PERMANENT } from "../linux_constants.ts";

type Write = (writer: MessageWriter, flags: number, sequence: number) => void;

const ETH1 = 3;
const FLANNEL1 = 4;
const RTPROT = 17;
const RTN_UNICAST = 1;
const RT_SCOPE_NOWHERE = 255;
/** iproute2's `bridge` adds NUD_NOARP (0x40) to permanent entries. */
const BRIDGE_PERMANENT = 0xc0;

const ip = (text: string) => parseIPv4(text)!;

const address: InterfaceAddress = {
  index: FLANNEL1,
  address: ip("10.20.93.0"),
  prefixLength: 32,
  scope: 0,
  flags: 0,
};
const peerRoute: Route = {
  destination: Prefix.parse("10.20.94.0/24")!,
  gateway: ip("10.20.94.0"),
  oif: FLANNEL1,
  onlink: true,
  protocol: RTPROT,
  scope: 0,
  table: 254,
  metric: 0,
};
const fullRoute: Route = {
  destination: Prefix.parse("10.20.95.0/24")!,
  gateway: ip("192.168.56.102"),
  source: ip("192.168.56.101"),
  oif: ETH1,
  onlink: false,
  protocol: RTPROT,
  scope: 0,
  table: 1000,
  metric: 100,
};
const defaultRoute: Route = {
  destination: Prefix.parse("0.0.0.0/0")!,
  gateway: ip("192.168.56.1"),
  oif: ETH1,
  onlink: false,
  protocol: 3,
  scope: 0,
  table: 254,
  metric: 0,
};
const neighbour: Neighbour = {
  index: FLANNEL1,
  address: ip("10.20.94.0"),
  mac: "c6:8a:3d:5f:56:2e",
  state: NUD_PERMANENT,
};
const entry: FdbEntry = {
  index: FLANNEL1,
  mac: "c6:8a:3d:5f:56:2e",
  destination: ip("192.168.56.102"),
  state: BRIDGE_PERMANENT,
};
const moved: FdbEntry = { ...entry, destination: ip("192.168.56.103") };

const CASES: Record<keyof typeof REQUESTS, Write> = {
  "ip link add flannel.1 mtu 1450 address 02:11:22:33:44:55 type vxlan id 1 dev eth1 local 192.168.56.101 dstport 8472 nolearning gbp":
    (writer, flags, sequence) =>
      writeNewLink(writer, flags, sequence, {
        name: "flannel.1",
        mtu: 1450,
        mac: "02:11:22:33:44:55",
        kind: VXLAN,
        attributes: {
          vni: 1,
          link: ETH1,
          local: ip("192.168.56.101"),
          port: 8472,
          learning: false,
          gbp: true,
        },
      }),
  "ip link set dev flannel.1 up": (writer, flags, sequence) =>
    writeLinkChange(writer, flags, sequence, FLANNEL1, { up: true }),
  "ip link set dev flannel.1 down": (writer, flags, sequence) =>
    writeLinkChange(writer, flags, sequence, FLANNEL1, { up: false }),
  "ip link set dev flannel.1 mtu 1400": (writer, flags, sequence) =>
    writeLinkChange(writer, flags, sequence, FLANNEL1, { mtu: 1400 }),
  "ip link set dev flannel.1 address 02:11:22:33:44:56": (writer, flags, sequence) =>
    writeLinkChange(writer, flags, sequence, FLANNEL1, { mac: "02:11:22:33:44:56" }),
  "ip addr add 10.20.93.0/32 dev flannel.1": (writer, flags, sequence) =>
    writeAddress(writer, RTM_NEWADDR, flags, sequence, address),
  "ip addr change 10.20.93.0/32 dev flannel.1 noprefixroute": (writer, flags, sequence) =>
    writeAddress(writer, RTM_NEWADDR, flags, sequence, { ...address, flags: 0x200 }),
  "ip addr del 10.20.93.0/32 dev flannel.1": (writer, flags, sequence) =>
    writeAddress(writer, RTM_DELADDR, flags, sequence, address),
  "ip route add 10.20.94.0/24 via 10.20.94.0 dev flannel.1 onlink proto 17": (
    writer,
    flags,
    sequence,
  ) => writeRoute(writer, RTM_NEWROUTE, flags, sequence, peerRoute),
  "ip route replace 10.20.95.0/24 via 192.168.56.102 dev eth1 src 192.168.56.101 metric 100 table 1000 proto 17":
    (writer, flags, sequence) => writeRoute(writer, RTM_NEWROUTE, flags, sequence, fullRoute),
  "ip route replace default via 192.168.56.1 dev eth1": (writer, flags, sequence) =>
    writeRoute(writer, RTM_NEWROUTE, flags, sequence, defaultRoute),
  "ip route del 10.20.94.0/24 via 10.20.94.0 dev flannel.1 onlink proto 17": (
    writer,
    flags,
    sequence,
  ) => writeRoute(writer, RTM_DELROUTE, flags, sequence, { ...peerRoute, scope: RT_SCOPE_NOWHERE }),
  "ip neigh add 10.20.94.0 lladdr c6:8a:3d:5f:56:2e dev flannel.1 nud permanent": (
    writer,
    flags,
    sequence,
  ) => writeNeighbour(writer, RTM_NEWNEIGH, flags, sequence, neighbour),
  "ip neigh replace 10.20.94.0 lladdr c6:8a:3d:5f:56:2f dev flannel.1 nud permanent": (
    writer,
    flags,
    sequence,
  ) =>
    writeNeighbour(writer, RTM_NEWNEIGH, flags, sequence, {
      ...neighbour,
      mac: "c6:8a:3d:5f:56:2f",
    }),
  "ip neigh del 10.20.94.0 lladdr c6:8a:3d:5f:56:2e dev flannel.1": (writer, flags, sequence) =>
    writeNeighbour(writer, RTM_DELNEIGH, flags, sequence, neighbour),
  "bridge fdb add c6:8a:3d:5f:56:2e dev flannel.1 dst 192.168.56.102 self permanent": (
    writer,
    flags,
    sequence,
  ) => writeFdbEntry(writer, RTM_NEWNEIGH, flags, sequence, entry),
  "bridge fdb replace c6:8a:3d:5f:56:2e dev flannel.1 dst 192.168.56.103 self permanent": (
    writer,
    flags,
    sequence,
  ) => writeFdbEntry(writer, RTM_NEWNEIGH, flags, sequence, moved),
  "bridge fdb del c6:8a:3d:5f:56:2e dev flannel.1 dst 192.168.56.103 self": (
    writer,
    flags,
    sequence,
  ) => writeFdbEntry(writer, RTM_DELNEIGH, flags, sequence, moved),
  "ip link del dev flannel.1": (writer, flags, sequence) =>
    writeLinkDeletion(writer, flags, sequence, FLANNEL1),
};

for (const [command, write] of Object.entries(CASES)) {
  Deno.test(`MessageWriter writes what \`${command}\` sends`, () => {
    const captured = fromHex(REQUESTS[command as keyof typeof REQUESTS]);
    const header = new DataView(captured.buffer);
    // iproute2 deletes routes of any type (RTN_UNSPEC), we none but unicast ones.
    if (command.startsWith("ip route del")) captured[23] = RTN_UNICAST;
    const writer = new MessageWriter();
    write(writer, header.getUint16(6, true), header.getUint32(8, true));
    assertEquals(toHex(writer.bytes), toHex(captured));
  });
}

// Node's, since Uint8Array.fromHex is not in Deno 2.4.
function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function read<T>(
  command: keyof typeof REPLIES,
  reader: (message: MessageCursor) => T | undefined,
): T[] {
  const bytes = fromHex(REPLIES[command]);
  const cursor = new MessageCursor().enter(new DataView(bytes.buffer), 0, bytes.length);
  const objects: T[] = [];
  while (cursor.next()) {
    if (cursor.type === NLMSG_DONE) continue;
    const object = reader(cursor);
    if (object !== undefined) objects.push(object);
  }
  return objects;
}

Deno.test("readLink() reads the kernel's answer to `ip -d link show`", () => {
  const decoded = (message: MessageCursor) => {
    const { data: _, ...link } = readLink(message);
    return { ...link, vxlan: VXLAN.of(readLink(message)) };
  };
  assertEquals(read("ip -d link show dev flannel.1", decoded), [{
    index: FLANNEL1,
    name: "flannel.1",
    // IFF_UP, BROADCAST, RUNNING, MULTICAST, LOWER_UP
    flags: 0x11043,
    mtu: 1400,
    mac: "02:11:22:33:44:56",
    kind: "vxlan",
    vxlan: {
      vni: 1,
      link: ETH1,
      local: ip("192.168.56.101"),
      port: 8472,
      learning: false,
      gbp: true,
      l2miss: false,
      l3miss: false,
    },
  }]);
});

Deno.test("readAddress() reads the kernel's answer to `ip addr show`", () => {
  assertEquals(read("ip addr show dev eth1", (message) => readAddress(message)), [{
    index: ETH1,
    address: ip("192.168.56.101"),
    prefixLength: 24,
    scope: 0,
    flags: 0x80,
  }]);
});

Deno.test("readRoute() reads the kernel's answer to `ip route show`", () => {
  const routes = read("ip -4 route show table all type unicast", (message) => readRoute(message));
  assertEquals(routes, [
    fullRoute,
    defaultRoute,
    peerRoute,
    {
      ...defaultRoute,
      destination: Prefix.parse("10.20.96.0/24")!,
      // The first of two next hops.
      gateway: ip("192.168.56.9"),
    },
    {
      destination: Prefix.parse("192.168.56.0/24")!,
      source: ip("192.168.56.101"),
      oif: ETH1,
      onlink: false,
      protocol: 2,
      scope: 253,
      table: 254,
      metric: 0,
    },
  ]);
});

Deno.test("readRoute() leaves out what its filter rejects", () => {
  const command = "ip -4 route show table all type unicast";
  const destinations = (filter: Parameters<typeof readRoute>[1]) =>
    read(command, (message) => readRoute(message, filter)).map((route) => `${route.destination}`);
  assertEquals(destinations({ table: 1000 }), ["10.20.95.0/24"]);
  assertEquals(destinations({ oif: FLANNEL1 }), ["10.20.94.0/24"]);
  assertEquals(destinations({ protocol: RTPROT }), ["10.20.95.0/24", "10.20.94.0/24"]);
  assertEquals(destinations({ protocol: RTPROT, oif: ETH1, table: 254 }), []);
});

Deno.test("readNeighbour() reads the kernel's answer to `ip neigh show`", () => {
  assertEquals(
    read("ip -4 neigh show dev flannel.1", (message) => readNeighbour(message)),
    [{ ...neighbour, mac: "c6:8a:3d:5f:56:2f" }],
  );
});

Deno.test("readFdbEntry() reads the kernel's answer to `bridge fdb show`", () => {
  assertEquals(read("bridge fdb show dev flannel.1", (message) => readFdbEntry(message)), [moved]);
});

Deno.test("readRouteLookup() reads the kernel's answer to `ip route get`", () => {
  assertEquals(read("ip route get 8.8.8.8", readRouteLookup), [{
    oif: ETH1,
    source: ip("192.168.56.101"),
    gateway: ip("192.168.56.1"),
  }]);
});
