/**
 * Socket filters in classic BPF (socket(7), SO_ATTACH_FILTER; linux/filter.h). They drop packets that no probe
 * waits for in the kernel, so that a flood does not reach this process.
 *
 * @module
 */
import { Arena, libc, unwrap } from "../sys/mod.ts";
import { ICMP_HEADER, TOKEN } from "./echo_message.ts";
import { IPPROTO_ICMP, SOL_SOCKET } from "../sys/linux_constants.ts";

const SO_ATTACH_FILTER = 26;
/** struct sock_fprog (64 bits): u16 len, then at 8 the address of the instructions. */
const SOCK_FPROG = 16;

/** Fields that an echo reply must carry. */
export interface EchoMark {
  /** 16 bits. */
  readonly identifier: number;
  /** {@linkcode TOKEN} bytes. */
  readonly token: Uint8Array;
}

/** struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
const INSTRUCTION = 8;

/** linux/bpf_common.h and linux/filter.h. */
const Code = {
  /** A = 8 bits at packet[k]; a packet that is too short is dropped. */
  LD_B_ABS: 0x30,
  /** A = 16 bits likewise. */
  LD_H_ABS: 0x28,
  /** X = 4 * (packet[k] & 0xf), the length of an IPv4 header. */
  LDX_MSH: 0xb1,
  /** X = k */
  LDX_IMM: 0x01,
  /** A = 8 bits at packet[X + k], likewise. */
  LD_B_IND: 0x50,
  /** A = 16 bits likewise. */
  LD_H_IND: 0x48,
  /** A = 32 bits likewise. */
  LD_W_IND: 0x40,
  JEQ: 0x15,
  /** Jumps when any bit of k is set in A. */
  JSET: 0x45,
  RET: 0x06,
} as const;

const ALL_BYTES = 0xffffffff;

type Instruction = readonly [code: number, k: number];

/** Returns a filter that drops everything. The error queue is not filtered. */
export function nothingFilter(): Uint8Array<ArrayBuffer> {
  return assemble([[Code.RET, 0]]);
}

/**
 * Returns a filter that passes ICMP echo messages with the mark.
 *
 * @param kind packets of a raw socket begin with the IP header; those of a ping socket begin with the ICMP
 * header and always have the socket's own identifier
 */
export function echoFilter(
  kind: "raw" | "ping",
  { identifier, token }: EchoMark,
): Uint8Array<ArrayBuffer> {
  const words = new DataView(token.buffer, token.byteOffset, TOKEN);
  return assemble([
    kind === "raw" ? [Code.LDX_MSH, 0] : [Code.LDX_IMM, 0],
    ...kind === "raw" ? [[Code.LD_H_IND, 4], [Code.JEQ, identifier]] as const : [],
    [Code.LD_W_IND, 8],
    [Code.JEQ, words.getUint32(0)],
    [Code.LD_W_IND, 12],
    [Code.JEQ, words.getUint32(4)],
    [Code.RET, ALL_BYTES],
    [Code.RET, 0],
  ]);
}

/** ICMP messages that pass {@linkcode messageFilter}. */
export interface MessageCondition {
  readonly type: number;
  /** 16 bits. @default any */
  readonly identifier?: number;
  /** First bytes of the data after the header, whole words of 4 bytes. @default any data */
  readonly data?: Uint8Array;
}

/** Offsets of the protocol, and of flags and fragment offset, in an IPv4 header (RFC 791). */
const PROTOCOL = 9;
const FRAGMENT = 6;
const FRAGMENT_OFFSET = 0x1fff;

/**
 * Returns a filter for raw sockets and packet sockets of type SOCK_DGRAM, whose packets begin with the IP
 * header. It passes the ICMP messages that meet the condition.
 */
export function messageFilter(
  { type, identifier, data = new Uint8Array() }: MessageCondition,
): Uint8Array<ArrayBuffer> {
  const words = new DataView(data.buffer, data.byteOffset, data.length);
  return assemble([
    [Code.LD_B_ABS, PROTOCOL],
    [Code.JEQ, IPPROTO_ICMP],
    [Code.LD_H_ABS, FRAGMENT],
    [Code.JSET, FRAGMENT_OFFSET],
    [Code.LDX_MSH, 0],
    [Code.LD_B_IND, 0],
    [Code.JEQ, type],
    ...identifier === undefined ? [] : [[Code.LD_H_IND, 4], [Code.JEQ, identifier]] as const,
    ...Array.from({ length: data.length / 4 }, (_, i): Instruction[] => [
      [Code.LD_W_IND, ICMP_HEADER + 4 * i],
      [Code.JEQ, words.getUint32(4 * i)],
    ]).flat(),
    [Code.RET, ALL_BYTES],
    [Code.RET, 0],
  ]);
}

/**
 * Attaches a filter to a socket, which then receives only packets that pass it.
 *
 * @throws {SysError}
 */
export function attachFilter(fd: number, filter: Uint8Array<ArrayBuffer>): void {
  using arena = new Arena();
  const program = arena.allocate(filter.length);
  program.bytes.set(filter);
  const header = arena.allocate(SOCK_FPROG);
  header.view.setUint16(0, filter.length / INSTRUCTION, true);
  header.view.setBigUint64(8, program.address, true);
  unwrap(
    "SO_ATTACH_FILTER",
    libc().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, header.bytes, SOCK_FPROG),
  );
}

/** Encodes a program. A failed comparison and a set bit jump to the last instruction. */
function assemble(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(program.length * INSTRUCTION));
  for (const [i, [code, k]] of program.entries()) {
    const at = i * INSTRUCTION;
    view.setUint16(at, code, true);
    if (code === Code.JSET) view.setUint8(at + 2, program.length - 2 - i);
    if (code === Code.JEQ) view.setUint8(at + 3, program.length - 2 - i);
    view.setUint32(at + 4, k, true);
  }
  return new Uint8Array(view.buffer);
}
