/**
 * Socket filters in classic BPF (socket(7), SO_ATTACH_FILTER; linux/filter.h): what a probe does not wait for
 * never reaches this process, however much of it comes.
 *
 * @module
 */
import { TOKEN } from "./echo_message.ts";

/** What a reply must carry: of the requests' own, or of what the kernel makes of it. */
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
  /** X = 4 * (packet[k] & 0xf), the length of an IPv4 header. */
  LDX_MSH: 0xb1,
  /** X = k */
  LDX_IMM: 0x01,
  /** A = 16 bits at packet[X + k]; a packet that is too short is dropped. */
  LD_H_IND: 0x48,
  /** A = 32 bits likewise. */
  LD_W_IND: 0x40,
  JEQ: 0x15,
  RET: 0x06,
} as const;

const ALL_BYTES = 0xffffffff;

type Instruction = readonly [code: number, k: number];

/** Drops everything; errors come by the error queue, which no filter sees. */
export function nothingFilter(): Uint8Array<ArrayBuffer> {
  return assemble([[Code.RET, 0]]);
}

/**
 * Passes messages that carry the mark in an ICMP echo's place for it.
 *
 * @param kind a raw socket sees packets from their IP header on, a ping socket from the ICMP header on, and
 * only those with its own identifier
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

/** A comparison that fails goes on at the last instruction. */
function assemble(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(program.length * INSTRUCTION));
  for (const [i, [code, k]] of program.entries()) {
    const at = i * INSTRUCTION;
    view.setUint16(at, code, true);
    if (code === Code.JEQ) view.setUint8(at + 3, program.length - 2 - i);
    view.setUint32(at + 4, k, true);
  }
  return new Uint8Array(view.buffer);
}
