/**
 * The backend's segmenting and merging compared with the kernel's: the kernel segments a GSO packet that it forwards
 * from a TUN device with offload to one without.
 */
import { assertEquals } from "@std/assert";
import {
  gsoPacket,
  pattern,
  type TcpFields,
  tcpPacket,
  udpPacket,
} from "../../../backends/udp/user/testing/packets.ts";
import { FrameVector } from "../../../backends/udp/user/packet/frames.ts";
import { decrementTtl } from "../../../backends/udp/user/packet/ipv4.ts";
import { PacketMemory } from "../../../backends/udp/user/packet/memory.ts";
import { Merger } from "../../../backends/udp/user/packet/merge.ts";
import { Segmenter } from "../../../backends/udp/user/packet/segment.ts";
import { plainHeader, type VirtioHeader } from "../../../backends/udp/user/packet/virtio.ts";
import { openTun } from "../../../backends/udp/user/tun/tun.ts";
import { TunQueue } from "../../../backends/udp/user/tun/tun_queue.ts";
import { closeDescriptor, inNetworkNamespace, libc } from "../../../mod/sys/mod.ts";
import { Namespace } from "../firewall/firewall_namespace.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

/** Without IPv6, whose own packets would be among those of the test. */
const SETUP = `
set -e
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $file; done
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link set in0 up
ip link set out0 up
ip addr add 10.1.1.1/24 dev in0
ip addr add 10.2.2.1/24 dev out0
`;

/** A namespace that forwards from one TUN device to another. */
class KernelRouter implements AsyncDisposable {
  readonly memory = new PacketMemory(1 << 20);
  readonly frames = new FrameVector(2048);
  /** Offsets in memory of packets to forward, and of those read. */
  readonly input: number = this.memory.allocate(256 * 1024);
  readonly #output = this.memory.allocate(64 * 1024);

  private constructor(
    readonly namespace: Namespace,
    readonly descriptors: readonly number[],
  ) {}

  static async make(): Promise<KernelRouter> {
    const namespace = await Namespace.make();
    const tuns = inNetworkNamespace(`/run/netns/${namespace.name}`, () => [
      openTun({ name: "in0" }),
      openTun({ name: "out0", segmentation: false }),
    ]);
    assertEquals(tuns[0]!.segmentation, { tcp: true, udp: true });
    await namespace.run("sh", "-c", SETUP);
    return new KernelRouter(namespace, tuns.map((tun) => tun.descriptors[0]!));
  }

  /** Lets the kernel forward the frames and gives what comes out. */
  async forward(expected: number): Promise<Uint8Array[]> {
    const on = { tcp: true, udp: true };
    const into = new TunQueue(this.descriptors[0]!, this.memory, on);
    const outOf = new TunQueue(this.descriptors[1]!, this.memory, on);
    assertEquals(into.write(this.frames, 0), this.frames.count);
    const packets: Uint8Array[] = [];
    // The kernel usually forwards during the write; the loop waits for deferred work.
    for (let tries = 0; tries < 50; tries++) {
      for (let length; (length = outOf.read(this.#output, plainHeader())) > 0;) {
        packets.push(this.memory.bytes.slice(this.#output, this.#output + length));
      }
      if (packets.length >= expected) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return packets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.descriptors.forEach(closeDescriptor);
    await this.namespace[Symbol.asyncDispose]();
  }
}

/** Segments as the data path does: decrements the TTL, then uses the segmenter. */
function segmentsOf(
  { packet, header }: { packet: Uint8Array; header: VirtioHeader },
): Uint8Array[] {
  const memory = new PacketMemory(512 * 1024);
  const to = 128 * 1024;
  memory.bytes.set(packet, 0);
  decrementTtl(memory.view, 0);
  const segmenter = new Segmenter(memory);
  assertEquals(segmenter.begin(header, 0, packet.length), true);
  const segments: Uint8Array[] = [];
  for (let written; (written = segmenter.next(to, 65507, 64)) > 0;) {
    for (let at = to; at < to + written; at += segmenter.segmentLength) {
      segments.push(memory.bytes.slice(at, Math.min(at + segmenter.segmentLength, to + written)));
    }
  }
  return segments;
}

const FLOW = { source: 0x0a010105, destination: 0x0a020206 };
const TIMESTAMPS = Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8);
const ACK = 0x10, FIN = 1, PSH = 8, ECE = 64, CWR = 128;

const GSO_PACKETS: [string, (fields: TcpFields) => Uint8Array, TcpFields, number][] = [
  ["TCP with timestamps", tcpPacket, { payload: pattern(30000), options: TIMESTAMPS }, 1420],
  ["the largest TCP", tcpPacket, { payload: pattern(65535 - 52), options: TIMESTAMPS }, 1420],
  ["TCP with PSH and FIN", tcpPacket, { payload: pattern(5000), flags: ACK | PSH | FIN }, 1000],
  ["TCP with CWR", tcpPacket, { payload: pattern(5000), flags: ACK | CWR | PSH, tos: 2 }, 1448],
  ["TCP with ECE", tcpPacket, { payload: pattern(3000), flags: ACK | ECE, tos: 1 }, 999],
  ["TCP with full options", tcpPacket, {
    ...{ payload: pattern(9999), options: new Uint8Array(40).fill(1) },
  }, 536],
  ["TCP whose sequence and id wrap", tcpPacket, {
    ...{ payload: pattern(7000), sequence: 0xfffff000, id: 0xfffe },
  }, 1337],
  ["TCP without DF", tcpPacket, { payload: pattern(7000), fragment: 0, id: 77 }, 1460],
  ["TCP of odd segments", tcpPacket, { payload: pattern(777), acknowledgment: 0xdeadbeef }, 7],
  ["UDP", udpPacket, { payload: pattern(40000), id: 5 }, 1400],
  ["UDP, the maximum number of segments", udpPacket, { payload: pattern(64 * 70) }, 70],
  ["UDP of odd datagrams", udpPacket, { payload: pattern(1111), fragment: 0 }, 33],
  ["UDP of zeros", udpPacket, { payload: new Uint8Array(3000), ...{ sourcePort: 0 } }, 1000],
];

Deno.test("Segmenter segments as the kernel does", async (test) => {
  await using router = await KernelRouter.make();
  for (const [name, build, fields, gsoSize] of GSO_PACKETS) {
    await test.step(name, async () => {
      const whole = gsoPacket(build({ ...FLOW, ...fields }), gsoSize);
      const expected = segmentsOf(whole);
      router.memory.bytes.set(whole.packet, router.input);
      router.frames.clear();
      const frame = router.frames.push(router.input, whole.packet.length, false);
      Object.assign(router.frames.header(frame), whole.header);
      assertEquals(await router.forward(expected.length), expected);
    });
  }
});

Deno.test("the kernel segments a merged frame into the same packets", async () => {
  await using router = await KernelRouter.make();
  const flows = GSO_PACKETS.map(([, build, fields, gsoSize], i) => {
    const flow = { ...FLOW, ttl: 65, sourcePort: 1000 + i };
    return segmentsOf(gsoPacket(build({ ...fields, ...flow }), gsoSize));
  });
  const { memory, frames } = router;
  for (const packets of flows) {
    const merger = new Merger(memory, frames, { tcp: true, udp: true });
    frames.clear();
    let at = router.input;
    for (const packet of packets) {
      memory.bytes.set(packet, at);
      merger.add(at, packet.length);
      at += packet.length;
    }
    merger.finish();
    assertEquals(frames.count, 1);
    const expected = packets.map((packet) => {
      const older = new PacketMemory(1);
      older.bytes.set(packet);
      decrementTtl(older.view, 0);
      return older.bytes.slice(0, packet.length);
    });
    assertEquals(await router.forward(packets.length), expected);
  }
});
