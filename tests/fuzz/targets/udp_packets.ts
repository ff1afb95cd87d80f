/** The user-space data path: datagrams of peers and packets of containers. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { aged, host, PEER, THIRD } from "../../../backends/udp/user/testing/host.ts";
import {
  ipv4Packet,
  pattern,
  tcpPacket,
  udpPacket,
} from "../../../backends/udp/user/testing/packets.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { bytesNear } from "../mutate.ts";
import type { FuzzTarget } from "../target.ts";

const ip = (text: string) => parseIPv4(text)!;
const IN = { source: ip("10.40.2.6"), destination: ip("10.40.1.5") };
const OUT = { source: IN.destination, destination: IN.source };
const options = Uint8Array.of(1, 1, 1, 0);

/** Packets between the two leases. */
function packets(fields: typeof IN): Uint8Array[] {
  return [
    udpPacket({ ...fields, payload: pattern(40) }),
    udpPacket({ ...fields, payload: pattern(8), id: 7, fragment: 0 }),
    tcpPacket({ ...fields, payload: pattern(60), sequence: 1000, id: 1 }),
    tcpPacket({ ...fields, payload: pattern(60), sequence: 1060, id: 2 }),
    tcpPacket({ ...fields, payload: pattern(20), sequence: 1120, id: 3, flags: 0x18 }),
    tcpPacket({ ...fields, options: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2) }),
    ipv4Packet({ ...fields, protocol: 1, payload: pattern(16) }),
    ipv4Packet({ ...fields, protocol: 17, fragment: 0x2000, payload: pattern(64) }),
    ipv4Packet({ ...fields, ipOptions: options, payload: pattern(12), ttl: 2 }),
    udpPacket({ ...fields, ttl: 1 }),
  ];
}

const ARRIVING = packets(IN);
const LEAVING = packets(OUT);

interface Datagram {
  readonly from: number;
  readonly packet: Uint8Array;
}

const datagrams = (near: fc.Arbitrary<Uint8Array>) =>
  fc.array(
    fc.record({ from: fc.constantFrom(PEER, PEER, PEER, THIRD, ip("192.0.2.9")), packet: near }),
    { minLength: 1, maxLength: 8 },
  );

/** A packet that may pass, by a slow reading of the rules; `undefined` for one that may not. */
function accepted({ from, packet }: Datagram): Uint8Array | undefined {
  if (packet.length < 20 || packet[0]! >> 4 !== 4) return undefined;
  const header = (packet[0]! & 15) * 4;
  const total = packet[2]! * 256 + packet[3]!;
  if (header < 20 || total < header || total > packet.length) return undefined;
  const dotted = (at: number) => [...packet.subarray(at, at + 4)].join(".");
  const [source, destination] = [dotted(12), dotted(16)];
  if (from !== PEER && from !== THIRD) return undefined;
  if (!destination.startsWith("10.40.1.")) return undefined;
  const lease = from === PEER ? "10.40.2." : "10.40.3.";
  if (source.startsWith("10.40.") && !source.startsWith(lease)) return undefined;
  if (packet[8]! <= 1) return undefined;
  return aged(packet.slice(0, total));
}

/** Removes the checksums: wrong ones stay wrong, so that `aged()` does not compare them. */
function unsummed(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy.fill(0, 10, 12);
  return copy;
}

/** A host, and what its counters gained since the last call. */
function counting(segmentation: boolean) {
  // One for all inputs: each has a WebAssembly memory, of which a process can have few.
  const made = host();
  made.device.segmentation.tcp = made.device.segmentation.udp = segmentation;
  let last: Record<string, number> = {};
  const gained = () => {
    const now = made.counts();
    const gain = (name: string) => (now[name] ?? 0) - (last[name] ?? 0);
    const drops = Object.keys(now).filter((name) => name.startsWith("drop"));
    const result = {
      received: gain("receivedPackets"),
      sent: gain("sentPackets"),
      dropped: drops.reduce((sum, name) => sum + gain(name), 0),
    };
    last = now;
    return result;
  };
  return { ...made, gained };
}

export const udpReceive: FuzzTarget<Datagram[]> = {
  name: "udp_receive",
  seeds: [ARRIVING.map((packet) => ({ from: PEER, packet }))],
  inputs: datagrams(bytesNear(ARRIVING, 120)),
  start: () => {
    const [plain, joining] = [counting(false), counting(true)];
    return (input) => {
      const right = input.map(accepted).filter((packet) => packet !== undefined);
      const got: Uint8Array[] = [];
      for (const { from, packet } of input) got.push(...plain.receive(from, packet));
      assertEquals(got.map(unsummed), right.map(unsummed));
      // All at once, to be joined where they belong together: as many packets are accepted.
      for (const { from, packet } of input) {
        joining.socket.waiting.push({ address: from, packets: [packet] });
      }
      while (joining.router.receive() > 0);
      const dropped = input.length - right.length;
      assertEquals(joining.gained(), { received: right.length, sent: 0, dropped });
      assert(joining.device.written.splice(0).length <= right.length);
    };
  },
};

export const udpSend: FuzzTarget<Uint8Array[]> = {
  name: "udp_send",
  seeds: [LEAVING],
  inputs: fc.array(bytesNear(LEAVING, 120), { minLength: 1, maxLength: 8 }),
  start: () => {
    const { send, gained, device, advance } = counting(true);
    return (input) => {
      // Errors to senders are throttled.
      advance(1000);
      // The device hands over no empty packet.
      const waiting = input.filter(({ length }) => length > 0);
      const sent = send(...waiting).flatMap(({ packets }) => [...packets]);
      const right = waiting.filter((packet) => {
        if (packet.length < 20 || packet[0]! >> 4 !== 4) return false;
        const header = (packet[0]! & 15) * 4;
        if (header < 20 || packet[2]! * 256 + packet[3]! !== packet.length) return false;
        if (header > packet.length || packet[8]! <= 1) return false;
        return /^10\.40\.[23]\./.test([...packet.subarray(16, 20)].join("."));
      });
      assertEquals(sent.map(unsummed), right.map((packet) => unsummed(aged(packet))));
      const dropped = waiting.length - right.length;
      assertEquals(gained(), { received: 0, sent: right.length, dropped });
      for (const { packet } of device.written.splice(0)) {
        assertEquals([packet[0], packet[9]], [0x45, 1]);
        assertEquals(packet[2]! * 256 + packet[3]!, packet.length);
      }
    };
  },
};
