import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { Errno } from "../../../mod/sys/ffi/errno.ts";
import { aged, host, PEER, THIRD } from "./testing/host.ts";
import { checksumsRight, ipv4Packet, pattern } from "./testing/packets.ts";
import { gsoPacket, tcpPacket, udpPacket } from "./testing/packets.ts";

const ip = (text: string) => parseIPv4(text)!;
const OWN = ip("10.40.1.5");
const REMOTE = ip("10.40.2.6");
/** From this host to the peer, and back. */
const OUT = { source: OWN, destination: REMOTE };
const IN = { source: REMOTE, destination: OWN };

Deno.test("send() sends a packet to the holder of its destination, with a decremented TTL", () => {
  const { send, counts, counters } = host();
  const packet = udpPacket({ ...OUT, payload: pattern(20) });
  assertEquals(send(packet), [{ address: PEER, packets: [aged(packet)] }]);
  assertEquals(counts(), {
    ...{ sentPackets: 1, sentBytes: 48, readFrames: 1, sentBatches: 1 },
  });
  assertEquals(counters.peer(1).sentBytes, 48);
});

Deno.test("send() batches packets of one length to one peer, and keeps all in order", () => {
  const { send } = host();
  const packets = [50, 50, 30, 50, 50].map((size, i) =>
    udpPacket({ ...OUT, payload: pattern(size, i) })
  );
  packets.splice(4, 0, udpPacket({ ...OUT, destination: ip("10.40.3.1"), payload: pattern(50) }));
  const sent = send(...packets);
  assertEquals(sent.map(({ address, packets }) => [address, packets.length]), [
    [PEER, 3],
    [PEER, 1],
    [THIRD, 1],
    [PEER, 1],
  ]);
  assertEquals(sent.flatMap(({ packets }) => packets), packets.map(aged));
});

Deno.test("send() with flushFirst sends the first packet before it reads the next", () => {
  const { device, router, socket } = host();
  const packets = [0, 1, 2].map((seed) => udpPacket({ ...OUT, payload: pattern(50, seed) }));
  device.give(...packets);
  let left = -1;
  socket.refuse = () => {
    if (left < 0) left = device.waiting.length;
    return 0;
  };
  assertEquals(router.send(true), 3);
  assertEquals(left, 2);
  assertEquals(socket.sent.map((batch) => batch.packets), [
    [aged(packets[0]!)],
    [aged(packets[1]!), aged(packets[2]!)],
  ]);
});

Deno.test("send() segments GSO packets into batches of at most one datagram's size", () => {
  const { device, router, socket, counts } = host();
  const payload = pattern(65000);
  const { packet, header } = gsoPacket(tcpPacket({ ...OUT, payload, flags: 0x18 }), 1420);
  device.waiting.push({ packet, header });
  device.give(udpPacket({ ...OUT, payload: pattern(3) }));
  while (router.send() > 0);
  assertEquals(socket.sent.map(({ packets }) => packets.length), [44, 2, 1]);
  const segments = socket.sent.slice(0, 2).flatMap(({ packets }) => packets);
  assert(segments.every(checksumsRight));
  assertEquals(new Set(segments.map((segment) => segment[8])), new Set([63]));
  assertEquals(Uint8Array.from(segments.flatMap((segment) => [...segment.slice(40)])), payload);
  assertEquals(counts().sentPackets, 47);
});

Deno.test("send() sends more GSO packets than its buffers hold, whole and in order", () => {
  const { device, router, socket } = host();
  const payloads = Array.from({ length: 12 }, (_, i) => pattern(3000 + i * 5000, i));
  for (const payload of payloads) {
    device.waiting.push(gsoPacket(tcpPacket({ ...OUT, payload }), 536));
    device.give(udpPacket({ ...OUT, payload: pattern(9) }));
  }
  while (router.send() > 0);
  const bytes = socket.sent.flatMap(({ packets }) => packets)
    .flatMap((packet) => packet[9] === 6 ? [...packet.slice(40)] : [0xdead]);
  assertEquals(bytes, payloads.flatMap((payload) => [...payload, 0xdead]));
});

Deno.test("send() completes a partial checksum", () => {
  const { device, router, socket } = host();
  const packet = udpPacket({ ...OUT, payload: pattern(11) });
  const partial = gsoPacket(packet, 1);
  device.waiting.push({ packet: partial.packet, header: { ...partial.header, gsoType: 0 } });
  router.send();
  assertEquals(socket.sent[0]!.packets, [aged(packet)]);
});

Deno.test("send() answers a packet without a route with ICMP 3/0", () => {
  const { send, device, drops, counts } = host();
  const packet = udpPacket({ ...OUT, destination: ip("10.40.99.1") });
  assertEquals(send(packet), []);
  const [error] = device.written;
  assertEquals([...error!.packet.slice(12, 20)], [10, 40, 99, 1, 10, 40, 1, 5]);
  assertEquals([...error!.packet.slice(20, 22)], [3, 0]);
  assertEquals(error!.packet.slice(28), packet.slice(0, 28));
  assertEquals(drops(), { dropSendNoRoute: 1 });
  assertEquals(counts().unreachables, 1);
});

Deno.test("send() never answers a ping or a later fragment with ICMP", () => {
  const { send, device, drops } = host();
  const nowhere = { ...OUT, destination: ip("10.40.99.1") };
  send(ipv4Packet({ ...nowhere, protocol: 1 }), ipv4Packet({ ...nowhere, fragment: 0x0010 }));
  assertEquals([device.written, drops()], [[], { dropSendNoRoute: 2 }]);
});

Deno.test("send() answers a scan with at most the kernel's rate of errors", () => {
  const { send, device, advance } = host();
  const probes = Array.from({ length: 200 }, () => udpPacket({ ...OUT, destination: 0x0a286301 }));
  send(...probes);
  assertEquals(device.written.length, 50);
  advance(10);
  send(...probes);
  assertEquals(device.written.length, 60);
});

Deno.test("send() drops packets other than IPv4, and those with TTL 1", () => {
  const { send, drops } = host();
  const six = new Uint8Array(60);
  six[0] = 0x60;
  assertEquals(send(six, udpPacket({ ...OUT, ttl: 1 }), new Uint8Array(1)), []);
  assertEquals(drops(), { dropSendNotIPv4: 2, dropSendTtl: 1 });
});

Deno.test("send() drops and counts packets when the socket is full, and continues", () => {
  const { send, socket, drops, counts } = host();
  socket.refuse = ({ packets }) => packets[0]!.length === 78 ? Errno.EAGAIN : 0;
  const packets = [50, 50, 20].map((size) => udpPacket({ ...OUT, payload: pattern(size) }));
  packets.push(udpPacket({ ...OUT, destination: ip("10.40.3.1"), payload: pattern(8) }));
  assertEquals(send(...packets).map(({ address }) => address), [THIRD]);
  assertEquals(drops(), { dropSendBuffer: 3 });
  assertEquals(counts().sentPackets, 1);
  socket.refuse = () => Errno.EPERM;
  send(packets[0]!);
  assertEquals(drops(), { dropSendBuffer: 3, dropSendRefused: 1 });
});

Deno.test("send() reports the path MTU to the sender of DF packets, and fragments the others", () => {
  const { device, router, socket, drops, counts } = host();
  socket.mtu = 1300;
  socket.refuse = ({ packets }) => packets[0]!.length > 1272 ? Errno.EMSGSIZE : 0;
  const payload = pattern(4000);
  device.waiting.push(gsoPacket(tcpPacket({ ...OUT, payload }), 1420));
  const free = udpPacket({ ...OUT, payload: pattern(1400), fragment: 0 });
  const small = udpPacket({ ...OUT, payload: pattern(100) });
  device.give(free, small);
  while (router.send() > 0);
  // One error for the flow, about its first segment; the last segment fits.
  assertEquals(device.written.length, 1);
  const error = device.written[0]!.packet;
  assertEquals([...error.slice(20, 28)].filter((_, i) => i !== 2 && i !== 3), [
    ...[3, 4, 0, 0, 1272 >> 8, 1272 & 255],
  ]);
  assertEquals([...error.slice(28 + 24, 28 + 28)], [0, 0, 1000 >> 8, 1000 & 255]);
  assertEquals(
    socket.alone.map(({ packet, fragment }) => [packet.length, fragment]),
    [[4000 - 2840 + 40, false], [1428, true], [128, false]],
  );
  assertEquals(socket.sent, []);
  assertEquals(drops(), { dropSendTooBig: 2 });
  assertEquals(counts().sentPackets, 3);
  assertEquals(counts().tooBigs, 1);
});

Deno.test("receive() passes a peer's packet to the device with a decremented TTL", () => {
  const { receive, counters, counts } = host();
  const packet = udpPacket({ ...IN, payload: pattern(20) });
  assertEquals(receive(PEER, packet), [aged(packet)]);
  assertEquals(counts(), {
    ...{ receivedPackets: 1, receivedBytes: 48, receivedBatches: 1, writtenFrames: 1 },
  });
  assertEquals(counters.peer(1).receivedPackets, 1);
});

Deno.test("receive() merges a batch of one flow into one frame", () => {
  const { socket, router, device } = host();
  const packets = [0, 1, 2].map((i) =>
    tcpPacket({ ...IN, payload: pattern(100, i), sequence: 1000 + 100 * i, id: i })
  );
  socket.waiting.push({ address: PEER, packets });
  router.receive();
  assertEquals(device.written.map(({ packet }) => packet.length), [340]);
  assertEquals(device.written[0]!.header.gsoSize, 100);
});

Deno.test("receive() filters by sender, inner source and inner destination, and counts by reason", () => {
  const packet = (source: string, destination: string) =>
    udpPacket({ source: ip(source), destination: ip(destination) });
  const inside = packet("10.40.2.6", "10.40.1.5");
  const cases: [string, number, Uint8Array, string | undefined][] = [
    ["a peer's own", PEER, inside, undefined],
    ["its device's address", PEER, packet("10.40.2.0", "10.40.1.0"), undefined],
    ["routed from elsewhere", PEER, packet("192.168.7.7", "10.40.1.5"), undefined],
    ["from nobody", ip("172.28.128.9"), inside, "dropReceiveUnknownSender"],
    ["another peer's source", THIRD, inside, "dropReceiveSpoofed"],
    ["our own source", PEER, packet("10.40.1.9", "10.40.1.5"), "dropReceiveSpoofed"],
    ["an unleased source", PEER, packet("10.40.77.1", "10.40.1.5"), "dropReceiveSpoofed"],
    ["to another lease", PEER, packet("10.40.2.6", "10.40.3.1"), "dropReceiveForeign"],
    ["to the world", PEER, packet("10.40.2.6", "8.8.8.8"), "dropReceiveForeign"],
    ["to a group", PEER, packet("10.40.2.6", "224.0.0.1"), "dropReceiveForeign"],
  ];
  for (const [what, sender, datagram, reason] of cases) {
    const { receive, drops } = host();
    assertEquals(receive(sender, datagram).length, reason === undefined ? 1 : 0, what);
    assertEquals(drops(), reason === undefined ? {} : { [reason]: 1 }, what);
  }
});

Deno.test("receive() filters each packet of a batch", () => {
  const { socket, router, device, drops } = host();
  // Without DF packets with the same id are not merged.
  const fields = { ...IN, payload: pattern(10), fragment: 0 };
  const good = udpPacket(fields);
  const bad = udpPacket({ ...fields, source: ip("10.40.3.3") });
  socket.waiting.push({ address: PEER, packets: [good, bad, good, bad, bad] });
  router.receive();
  assertEquals(device.written.map(({ packet }) => packet), [aged(good), aged(good)]);
  assertEquals(drops(), { dropReceiveSpoofed: 3 });
});

Deno.test("receive() drops sources outside the network when strict, and accepts any sender with acceptAny", () => {
  const routed = udpPacket({ ...IN, source: ip("192.168.7.7") });
  const strict = host({ strictSource: true });
  assertEquals(strict.receive(PEER, routed), []);
  assertEquals(strict.drops(), { dropReceiveSpoofed: 1 });
  const open = host({ acceptAny: true });
  const spoofed = udpPacket({ ...IN, source: ip("10.40.3.3") });
  assertEquals(open.receive(ip("1.2.3.4"), routed, spoofed).length, 2);
  assertEquals(
    open.receive(PEER, udpPacket({ ...IN, destination: 1 })),
    [],
    "not this host's lease",
  );
});

Deno.test("receive() follows added and removed peers", () => {
  const { receive, table } = host();
  const packet = udpPacket(IN);
  const subnet = Prefix.parse("10.40.2.0/24")!;
  table.remove(subnet);
  assertEquals(receive(PEER, packet), []);
  table.set(subnet, THIRD);
  assertEquals([receive(PEER, packet).length, receive(THIRD, packet).length], [0, 1]);
  table.setOwn(undefined);
  assertEquals(receive(THIRD, packet), []);
});

Deno.test("receive() drops truncated, short and empty datagrams, and removes padding", () => {
  const { receive, socket, router, drops } = host();
  const packet = udpPacket({ ...IN, payload: pattern(30) });
  assertEquals(receive(PEER, packet.slice(0, 57), packet.slice(0, 19), new Uint8Array()), []);
  assertEquals(drops(), { dropReceiveMalformed: 3 });
  socket.waiting.push({ address: PEER, packets: [packet], truncated: true });
  router.receive();
  assertEquals(drops(), { dropReceiveMalformed: 3, dropReceiveTruncated: 1 });
  const padded = new Uint8Array(80);
  padded.set(packet);
  assertEquals(receive(PEER, padded), [aged(packet)]);
  assertEquals(receive(PEER, udpPacket({ ...IN, ttl: 1 })), []);
  assertEquals(drops().dropReceiveTtl, 1);
});

Deno.test("receive() passes replayed packets unmerged, as the kernel detects replays", () => {
  const { receive } = host();
  const packet = tcpPacket({ ...IN, payload: pattern(100) });
  assertEquals(receive(PEER, packet, packet, packet), [packet, packet, packet].map(aged));
});

Deno.test("receive() stops merging a kind that the device refuses", () => {
  const { socket, router, device, drops } = host();
  const segments = [0, 1].map((i) =>
    tcpPacket({ ...IN, payload: pattern(100, i), sequence: 1000 + 100 * i, id: i })
  );
  device.refuse = ({ header }) => header.gsoType === 0 ? 0 : Errno.EINVAL;
  for (let i = 0; i < 2; i++) socket.waiting.push({ address: PEER, packets: segments });
  router.receive();
  assertEquals(device.segmentation, { tcp: false, udp: true });
  assertEquals(drops().dropReceiveRefused! > 0, true);
  device.written.splice(0);
  socket.waiting.push({ address: PEER, packets: segments });
  router.receive();
  assertEquals(device.written.map(({ packet }) => packet), segments.map(aged));
});

Deno.test("receive() continues after a frame that the device refuses", () => {
  const { receive, device, drops } = host();
  device.refuse = ({ packet }) => packet.length === 48 ? Errno.EIO : 0;
  const packets = [20, 21, 22].map((size) => udpPacket({ ...IN, payload: pattern(size) }));
  assertEquals(receive(PEER, ...packets), packets.slice(1).map(aged));
  assertEquals(drops(), { dropReceiveRefused: 1 });
});

Deno.test("Router handles any bytes from either side", () => {
  const { socket, device, router, counts } = host({ acceptAny: true });
  const bytes = fc.uint8Array({ maxLength: 200, size: "max" });
  const word = fc.nat(0xffff);
  fc.assert(
    fc.property(
      fc.array(bytes, { minLength: 1, maxLength: 10 }),
      fc.record({
        ...{ flags: fc.nat(3), gsoType: fc.constantFrom(0, 1, 5, 0x81), headerLength: word },
        ...{ gsoSize: fc.nat(300), csumStart: fc.nat(60), csumOffset: fc.nat(40) },
      }),
      fc.boolean(),
      (list, header, plausible) => {
        for (const packet of list) {
          if (plausible && packet.length >= 20) {
            packet.set([0x45, 0, 0, packet.length]);
            packet.set([64, packet[9]! & 1 ? 6 : 17], 8);
            packet.set([10, 40, 1, 5], 16);
          }
          socket.waiting.push({ address: PEER, packets: [packet] });
          if (packet.length === 0) continue; // A device has no empty packets.
          const outward = packet.slice();
          if (plausible && packet.length >= 20) outward.set([10, 40, 2, 9], 16);
          device.waiting.push({ packet: outward, header });
        }
        while (router.receive() > 0 || router.send() > 0);
        assertEquals([socket.waiting, device.waiting], [[], []]);
        socket.sent.splice(0);
        device.written.splice(0);
      },
    ),
    { numRuns: 1000 },
  );
  const { writtenFrames, sentBatches } = counts();
  assert(writtenFrames! > 100 && sentBatches! > 100, `${writtenFrames}, ${sentBatches}`);
});
