/** The tunnel's socket with the kernel: segment batches, refusals, full buffers. */
import { assert, assertEquals } from "@std/assert";
import { pattern } from "../../../backends/udp/user/testing/packets.ts";
import { PacketMemory } from "../../../backends/udp/user/packet/memory.ts";
import { openSocket, type SocketOptions } from "../../../backends/udp/user/socket/socket.ts";
import { SegmentBatches } from "../../../backends/udp/user/socket/segment_batches.ts";
import { UdpSocket } from "../../../backends/udp/user/socket/udp_socket.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { closeDescriptor, Errno, inNetworkNamespace, libc, unwrap } from "../../../mod/sys/mod.ts";
import { ADDRESSES, UdpLab } from "./udp_lab.ts";
import { RawPeer } from "./udp_raw_peer.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

/** asm-generic/socket.h: datagrams without checksum, for which the kernel refuses GSO. */
const SO_NO_CHECK = 11;
const PEER = parseIPv4(ADDRESSES[1])!;

/** A socket of host 0 or 1 with its memory. */
class Endpoint implements Disposable {
  readonly memory = new PacketMemory(UdpSocket.MEMORY + 512 * 1024);
  readonly batches = new SegmentBatches(256);
  readonly socket: UdpSocket;
  readonly fd: number;
  readonly #at = this.memory.allocate(256 * 1024);
  #used = 0;

  constructor(lab: UdpLab, host: 0 | 1, options: Partial<SocketOptions> = {}) {
    const address = parseIPv4(ADDRESSES[host])!;
    const opened = inNetworkNamespace(
      `/run/netns/${lab.hosts[host].name}`,
      () => openSocket({ address, port: 8285, ...options }),
    );
    this.fd = opened.fd;
    this.socket = new UdpSocket(opened, this.memory, { port: 8285 });
  }

  /** Appends a packet to send. */
  appendPacket(packet: Uint8Array): void {
    this.memory.bytes.set(packet, this.#at + this.#used);
    const { maxSegments } = this.socket;
    this.batches.appendPacket(PEER, 1, this.#at + this.#used, packet.length, maxSegments);
    this.#used += packet.length;
  }

  /** Receives `count` packets; returns them and the number of batches. */
  async receive(count: number): Promise<{ packets: Uint8Array[]; batches: number }> {
    const packets: Uint8Array[] = [];
    let batches = 0;
    for (let tries = 0; packets.length < count && tries < 200; tries++) {
      const received = this.socket.receive(this.batches);
      for (let batch = 0; batch < received; batch++, batches++) {
        const end = this.batches.offset[batch]! + this.batches.length[batch]!;
        const segment = this.batches.segment[batch]!;
        for (let at = this.batches.offset[batch]!; at < end; at += segment) {
          packets.push(this.memory.bytes.slice(at, Math.min(at + segment, end)));
        }
      }
      if (received === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return { packets, batches };
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
  }
}

/** Packets that form three batches: 100 of one length and a shorter one; a longer one; a longer and a shorter one. */
const PACKETS = [...Array(100).fill(500), 33, 900, 1000, 40].map((size, i) => pattern(size, i));

Deno.test("UdpSocket sends and receives segment batches", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0);
  using there = new Endpoint(lab, 1);
  for (const packet of PACKETS) here.appendPacket(packet);
  assertEquals(here.batches.count, 3);
  assertEquals(here.socket.send(here.batches, 0), 3);
  const { packets, batches } = await there.receive(PACKETS.length);
  assertEquals(packets, PACKETS);
  assert(batches <= 4, `${batches} batches`); // At most 64 packets each before Linux 6.9, then 128.
});

Deno.test("UdpSocket sends and receives single datagrams without offload", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0, { gso: false });
  using there = new Endpoint(lab, 1, { gro: false });
  for (const packet of PACKETS) here.appendPacket(packet);
  assertEquals(here.socket.send(here.batches, 0), here.batches.count);
  const { packets, batches } = await there.receive(PACKETS.length);
  assertEquals(packets, PACKETS);
  assertEquals(batches, PACKETS.length);
});

Deno.test("send() stops using GSO when the kernel refuses it, and loses no packet", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0);
  using there = new Endpoint(lab, 1);
  const one = new Uint8Array(new ArrayBuffer(4));
  one[0] = 1;
  unwrap("SO_NO_CHECK", libc().setsockopt(here.fd, 1, SO_NO_CHECK, one, 4));
  for (const packet of PACKETS) here.appendPacket(packet);
  assert(here.socket.gso);
  assertEquals(here.socket.send(here.batches, 0), here.batches.count);
  assert(!here.socket.gso);
  assertEquals((await there.receive(PACKETS.length)).packets, PACKETS);
});

Deno.test("send() returns EAGAIN instead of waiting, and keeps the rest of the batch", async () => {
  await using lab = await UdpLab.make();
  // A slow link: queued packets stay charged to the socket.
  const shape = "tc qdisc add dev eth1 root tbf rate 100kbit burst 2k latency 10s";
  await lab.hosts[0].run(...shape.split(" "));
  using here = new Endpoint(lab, 0, { gso: false });
  const small = new Uint8Array(new ArrayBuffer(4));
  new DataView(small.buffer).setInt32(0, 20_000, true);
  unwrap("SO_SNDBUF", libc().setsockopt(here.fd, 1, 7, small, 4));
  for (let i = 0; i < 100; i++) here.appendPacket(pattern(500, i));
  const before = here.batches.length[0]!;
  // A send that waits would take ten seconds and send all.
  assertEquals(here.socket.send(here.batches, 0), -Errno.EAGAIN);
  const left = here.batches.length[0]!;
  assert(left > 0 && left < before && left % 500 === 0, `${left} of ${before}`);
});

Deno.test("pathMtu() returns the path MTU, and sendOne() fragments by it", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0);
  using peer = new RawPeer(lab.hosts[1], ADDRESSES[1]);
  await lab.hosts[0].run("ip", "route", "add", ADDRESSES[1], "dev", "eth1", "mtu", "1300");
  const mtu = (address: string) =>
    inNetworkNamespace(
      `/run/netns/${lab.hosts[0].name}`,
      () => here.socket.pathMtu(parseIPv4(address)!),
    );
  assertEquals([mtu(ADDRESSES[1]), mtu("172.28.128.9"), mtu("8.8.8.8")], [1300, 1500, 0]);
  const packet = pattern(1400);
  here.appendPacket(packet);
  const offset = here.batches.offset[0]!;
  assertEquals(here.socket.send(here.batches, 0), -Errno.EMSGSIZE);
  assertEquals(here.socket.sendOne(PEER, offset, 1400, false), -Errno.EMSGSIZE);
  assertEquals(here.socket.sendOne(PEER, offset, 1400, true), 0);
  assertEquals(await peer.receive(), packet);
  assertEquals(here.socket.send(here.batches, 0), -Errno.EMSGSIZE, "fragmentation is off again");
});
