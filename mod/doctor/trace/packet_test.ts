import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { onesComplementSum } from "../../ip/checksum.ts";
import type { PayloadMatch } from "../../sys/mod.ts";
import {
  carrierMatch,
  ethernetFrame,
  probeMatch,
  type ProbePacket,
  readHeaders,
  replyMatch,
  writeProbe,
} from "./packet.ts";

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const packets: fc.Arbitrary<ProbePacket> = fc.record({
  source: u32,
  destination: u32,
  protocol: fc.constantFrom("icmp", "tcp", "udp"),
  ...{ port: u16, id: u16, sourcePort: u16 },
});

/** Compares as nf_tables does. */
function matches(bytes: Uint8Array, rules: readonly PayloadMatch[]): boolean {
  return rules.every(({ base, offset, value }) => {
    const at = offset + (base === "network" ? 0 : 20);
    return value.every((byte, i) => bytes[at + i] === byte);
  });
}

/** A sum over all, with its checksum in it, is 0xffff (RFC 1071). */
function isRightSum(view: DataView, offset: number, length: number, more = 0): boolean {
  const sum = onesComplementSum(view, offset, length) + more;
  return ((sum & 0xffff) + (sum >>> 16)) % 0xffff === 0;
}

Deno.test("writeProbe() writes packets with right lengths and checksums that their match knows", () => {
  fc.assert(fc.property(packets, (packet) => {
    const bytes = writeProbe(packet);
    const view = new DataView(bytes.buffer);
    const { source, destination, id } = packet;
    const protocol = { icmp: 1, tcp: 6, udp: 17 }[packet.protocol];
    assertEquals(readHeaders(bytes), { id, protocol, source, destination });
    assertEquals(view.getUint16(2), bytes.length);
    assertEquals(isRightSum(view, 0, 20), true);
    const length = bytes.length - 20;
    const pseudo = new DataView(new ArrayBuffer(12));
    pseudo.setUint32(0, source);
    pseudo.setUint32(4, destination);
    pseudo.setUint16(8, protocol);
    pseudo.setUint16(10, length);
    const more = packet.protocol === "icmp" ? 0 : onesComplementSum(pseudo, 0, 12);
    assertEquals(isRightSum(view, 20, length, more), true);
    assertEquals(matches(bytes, probeMatch(packet)), true);
  }));
});

Deno.test("probeMatch() knows no other packet", () => {
  fc.assert(fc.property(packets, packets, (one, other) => {
    const isSame = one.id === other.id && one.protocol === other.protocol &&
      one.source === other.source && one.destination === other.destination;
    assertEquals(matches(writeProbe(other), probeMatch(one)), isSame);
  }));
});

Deno.test("replyMatch() knows the answer, and not the question", () => {
  fc.assert(fc.property(packets, (packet) => {
    const answer = writeProbe({
      ...packet,
      ...{ source: packet.destination, destination: packet.source },
      ...{ port: packet.sourcePort, sourcePort: packet.port },
    });
    // An echo reply has type 0.
    if (packet.protocol === "icmp") answer[20] = 0;
    assertEquals(matches(answer, replyMatch(packet)), true);
    fc.pre(packet.source !== packet.destination);
    assertEquals(matches(writeProbe(packet), replyMatch(packet)), false);
  }));
});

Deno.test("carrierMatch() knows the datagram with the probe in it, by vxlan and by udp", () => {
  fc.assert(fc.property(packets, u16, fc.constantFrom(0, 22), (packet, port, headers) => {
    const outer = writeProbe({
      ...{ source: 1, destination: 2, protocol: "udp", port, id: 3, sourcePort: 4 },
    });
    const datagram = new Uint8Array([...outer, ...new Uint8Array(headers), ...writeProbe(packet)]);
    assertEquals(matches(datagram, carrierMatch(packet, { port, headers })), true);
    const other = { ...packet, id: packet.id ^ 1 };
    assertEquals(matches(datagram, carrierMatch(other, { port, headers })), false);
  }));
});

Deno.test("ethernetFrame() puts addresses and EtherType before the packet", () => {
  const frame = ethernetFrame(new Uint8Array([0x45]), {
    to: new Uint8Array([1, 2, 3, 4, 5, 6]),
    from: new Uint8Array([7, 8, 9, 10, 11, 12]),
  });
  assertEquals([...frame], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0, 0x45]);
});

Deno.test("readHeaders() of other bytes is undefined", () => {
  assertEquals(readHeaders(new Uint8Array(19).fill(0x45)), undefined);
  assertEquals(readHeaders(new Uint8Array(40).fill(0x60)), undefined);
});
