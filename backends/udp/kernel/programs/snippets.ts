/**
 * Instruction sequences that the programs share. In all of them R6 is the packet (`struct __sk_buff`), and `pass`
 * the label that passes it on unaltered.
 *
 * @module
 */
import {
  type Assembler,
  R0,
  R1,
  R10,
  R2,
  R3,
  R4,
  R5,
  R6,
  type Register,
  SkBuff,
  Verdict,
} from "../../../../mod/sys/bpf/mod.ts";
import { GroValue, type MapName, type Reason, REASONS } from "./layout.ts";

/** Offsets on the stack that the snippets use, below R10. */
const INDEX = -96;
const BYTE = -104;

let unique = 0;
const fresh = (name: string) => `${name}_${unique++}`;

/**
 * Makes the first bytes of a packet readable: R2 points to them, R3 to their end. A shorter packet jumps to `pass`.
 * Only a non-linear packet costs a copy.
 */
export function readable(length: number) {
  const done = fresh("readable");
  const check = (a: Assembler) =>
    a.load(R2, R6, SkBuff.data, 4)
      .load(R3, R6, SkBuff.data_end, 4)
      .mov(R4, R2).alu(R4, "add", length);
  return (a: Assembler) =>
    a.include(check).jumpIf(R4, "<=", R3, done)
      .mov(R1, R6).mov(R2, length).call("skb_pull_data").jumpIf(R0, "!=", 0, "pass")
      .include(check).jumpIf(R4, ">", R3, "pass")
      .label(done);
}

/**
 * Reads version and header length of an IPv4 header at R2 + offset: R4 becomes the length in bytes. Jumps to
 * `otherwise` when it is not IPv4. Uses R5.
 */
export function headerLength(offset: number, otherwise = "pass") {
  return (a: Assembler) =>
    a.load(R4, R2, offset, 1)
      .mov(R5, R4).alu(R5, "and", 0xf0).jumpIf(R5, "!=", 0x40, otherwise)
      .alu(R4, "and", 0x0f).jumpIf(R4, "<", 5, otherwise)
      .alu(R4, "lsh", 2);
}

/**
 * Decrements the TTL and updates the checksum (RFC 1624, as the kernel's ip_decrease_ttl()) in four bytes of the
 * stack: TTL, protocol, checksum. Uses R5.
 */
export function decrementTtl(at: number) {
  const done = fresh("ttl");
  return (a: Assembler) =>
    a.load(R5, R10, at, 1).alu(R5, "sub", 1).store(R10, at, R5, 1)
      .load(R5, R10, at + 2, 2).swap(R5, 16).alu(R5, "add", 0x0100)
      .jumpIf(R5, "<", 0xffff, done)
      .alu(R5, "add", 1)
      .label(done)
      .swap(R5, 16).store(R10, at + 2, R5, 2);
}

/**
 * Computes the length of a packet's IPv4 and TCP headers in R1. The IPv4 header's length is on the stack. Uses all
 * registers but R6 to R9.
 */
export function tcpHeaders(offset: number, headerLengthAt: number) {
  return (a: Assembler) =>
    a.mov(R1, R6)
      // 12: offset of the TCP header's own length.
      .load(R2, R10, headerLengthAt, 8).alu(R2, "add", offset + 12)
      .mov(R3, R10).alu(R3, "add", BYTE)
      .mov(R4, 1)
      .call("skb_load_bytes").jumpIf(R0, "!=", 0, "pass")
      .load(R1, R10, BYTE, 1).alu(R1, "rsh", 4).alu(R1, "lsh", 2)
      .load(R2, R10, headerLengthAt, 8)
      .alu(R1, "add", R2);
}

/**
 * Computes the number of segments of a GSO packet in `segmentSize`. R1 is the length of the headers, `length` that
 * of the packet. A packet without payload jumps to `pass`. Uses R2.
 */
export function countSegments(length: Register, segmentSize: Register) {
  return (a: Assembler) =>
    a.jumpIf(R1, ">=", length, "pass")
      .mov(R2, length).alu(R2, "sub", R1)
      .alu(R2, "add", segmentSize).alu(R2, "sub", 1)
      .alu(R2, "div", segmentSize)
      .mov(segmentSize, R2);
}

/** Looks up a key on the stack: R0 points to the value, or is 0. */
export function lookup(map: MapName, keyAt: number) {
  return (a: Assembler) =>
    a.loadMap(R1, map).mov(R2, R10).alu(R2, "add", keyAt).call("map_lookup_elem");
}

/**
 * Compares the secret in the GRO headers at `packet` + `at` with that in the map's value at `value`. Jumps to
 * `otherwise` when they differ. Uses R1 and R3.
 */
export function sameSecret(packet: Register, at: number, value: Register, otherwise: string) {
  return (a: Assembler) => {
    for (let i = GroValue.Secret; i < GroValue.EtherType; i += 2) {
      a.load(R1, packet, at + i, 2).load(R3, value, i, 2).jumpIf(R1, "!=", R3, otherwise);
    }
  };
}

/** Adds atomically to the u64 at R0 + offset. */
export function add(offset: number, amount: Register) {
  return (a: Assembler) => a.atomicAdd(R0, offset, amount, 8);
}

/** Increments the counter of a per-CPU array at an index. Uses all registers but R6 to R9. */
export function count(map: "groCounts" | "reasons", index: number) {
  const end = fresh("counted");
  return (a: Assembler) =>
    a.store(R10, INDEX, index, 4)
      .include(lookup(map, INDEX))
      .jumpIf(R0, "==", 0, end)
      .load(R1, R0, 0, 8).alu(R1, "add", 1).store(R0, 0, R1, 8)
      .label(end);
}

/** Ends the program at the label `pass`: the next program on the interface, or the stack, gets the packet. */
export function pass(a: Assembler) {
  return a.label("pass").mov(R0, Verdict.TC_ACT_UNSPEC).exit();
}

/** Ends the program at a label with the reason's name: counts and drops the packet. */
export function drop(reason: Reason) {
  return (a: Assembler) =>
    a.label(reason)
      .include(count("reasons", REASONS.indexOf(reason)))
      .mov(R0, Verdict.TC_ACT_SHOT).exit();
}
