/** The socket of the udp data path on the kernel's: trains, refusals, full buffers. */
import { assert, assertEquals } from "@std/assert";
import { pattern } from "../../../backends/udp/user/testing/packets.ts";
import { PacketMemory } from "../../../backends/udp/user/packet/memory.ts";
import { openSocket, type SocketOptions } from "../../../backends/udp/user/socket/socket.ts";
import { TrainVector } from "../../../backends/udp/user/socket/segment_batches.ts";
import { UdpSocket } from "../../../backends/udp/user/socket/udp_socket.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { closeDescriptor, Errno, inNetworkNamespace, libc, unwrap } from "../../../mod/sys/mod.ts";
import { ADDRESSES, UdpLab } from "./udp_lab.ts";
import { RawPeer } from "./udp_raw_peer.ts";

// Before any test: older runtimes take the library for a leak of the test that opens it.
libc();

/** asm-generic/socket.h: datagrams without checksum, for which the kernel refuses trains. */
const SO_NO_CHECK = 11;
const PEER = parseIPv4(ADDRESSES[1])!;

/** A socket of host 0 or 1 with a memory of its own. */
class Endpoint implements Disposable {
  readonly memory = new PacketMemory(UdpSocket.MEMORY + 512 * 1024);
  readonly trains = new TrainVector(256);
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

  /** Adds a packet to be sent. */
  couple(packet: Uint8Array): void {
    this.memory.bytes.set(packet, this.#at + this.#used);
    const { maxSegments } = this.socket;
    this.trains.couple(PEER, 1, this.#at + this.#used, packet.length, maxSegments);
    this.#used += packet.length;
  }

  /** All packets that have arrived, and in how many trains. */
  async receive(count: number): Promise<{ packets: Uint8Array[]; trains: number }> {
    const packets: Uint8Array[] = [];
    let trains = 0;
    for (let tries = 0; packets.length < count && tries < 200; tries++) {
      const received = this.socket.receive(this.trains);
      for (let train = 0; train < received; train++, trains++) {
        const end = this.trains.offset[train]! + this.trains.length[train]!;
        const segment = this.trains.segment[train]!;
        for (let at = this.trains.offset[train]!; at < end; at += segment) {
          packets.push(this.memory.bytes.slice(at, Math.min(at + segment, end)));
        }
      }
      if (received === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return { packets, trains };
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
  }
}

/** 100 packets of one length and a short one, a longer one, and one that is longer still with a short one. */
const PACKETS = [...Array(100).fill(500), 33, 900, 1000, 40].map((size, i) => pattern(size, i));

Deno.test("UdpSocket sends trains and receives them as trains", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0);
  using there = new Endpoint(lab, 1);
  for (const packet of PACKETS) here.couple(packet);
  assertEquals(here.trains.count, 3);
  assertEquals(here.socket.send(here.trains, 0), 3);
  const { packets, trains } = await there.receive(PACKETS.length);
  assertEquals(packets, PACKETS);
  assert(trains <= 4, `${trains} trains`); // 64 in a train before Linux 6.9, then 128.
});

Deno.test("UdpSocket sends and receives the same packets one by one without offload", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0, { segmentation: false });
  using there = new Endpoint(lab, 1, { coalescing: false });
  for (const packet of PACKETS) here.couple(packet);
  assertEquals(here.socket.send(here.trains, 0), here.trains.count);
  const { packets, trains } = await there.receive(PACKETS.length);
  assertEquals(packets, PACKETS);
  assertEquals(trains, PACKETS.length);
});

Deno.test("send() gives trains up when the kernel refuses them, and loses no packet by it", async () => {
  await using lab = await UdpLab.make();
  using here = new Endpoint(lab, 0);
  using there = new Endpoint(lab, 1);
  const one = new Uint8Array(new ArrayBuffer(4));
  one[0] = 1;
  unwrap("SO_NO_CHECK", libc().setsockopt(here.fd, 1, SO_NO_CHECK, one, 4));
  for (const packet of PACKETS) here.couple(packet);
  assert(here.socket.segmentation);
  assertEquals(here.socket.send(here.trains, 0), here.trains.count);
  assert(!here.socket.segmentation);
  assertEquals((await there.receive(PACKETS.length)).packets, PACKETS);
});

Deno.test("send() answers EAGAIN instead of waiting, and keeps the rest of the train", async () => {
  await using lab = await UdpLab.make();
  // A slow link: what is on its way stays charged to the socket.
  const shape = "tc qdisc add dev eth1 root tbf rate 100kbit burst 2k latency 10s";
  await lab.hosts[0].run(...shape.split(" "));
  using here = new Endpoint(lab, 0, { segmentation: false });
  const small = new Uint8Array(new ArrayBuffer(4));
  new DataView(small.buffer).setInt32(0, 20_000, true);
  unwrap("SO_SNDBUF", libc().setsockopt(here.fd, 1, 7, small, 4));
  for (let i = 0; i < 100; i++) here.couple(pattern(500, i));
  const before = here.trains.length[0]!;
  // What waited would wait ten seconds, and send all of it.
  assertEquals(here.socket.send(here.trains, 0), -Errno.EAGAIN);
  const left = here.trains.length[0]!;
  assert(left > 0 && left < before && left % 500 === 0, `${left} of ${before}`);
});

Deno.test("pathMtu() knows the path, and sendOne() may fragment on it", async () => {
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
  here.couple(packet);
  const offset = here.trains.offset[0]!;
  assertEquals(here.socket.send(here.trains, 0), -Errno.EMSGSIZE);
  assertEquals(here.socket.sendOne(PEER, offset, 1400, false), -Errno.EMSGSIZE);
  assertEquals(here.socket.sendOne(PEER, offset, 1400, true), 0);
  assertEquals(await peer.receive(), packet);
  assertEquals(here.socket.send(here.trains, 0), -Errno.EMSGSIZE, "fragments are off again");
});
