import { Arena } from "../ffi/arena.ts";
import { SysError } from "../ffi/errno.ts";
import { closeDescriptor, cString } from "../ffi/libc.ts";
import { type AssembledProgram, linkProgram } from "./assembler.ts";
import { bpf, objectName } from "./call.ts";
import { ProgramType, type ProgramTypeName } from "./constants.ts";
import { BpfError } from "./error.ts";
import { formatTag, objectInfo } from "./info.ts";

/** The verifier's log in full takes some 200 bytes an instruction and path. */
const LOG_SIZE = 1 << 20;

/** redirect_neigh, skb_adjust_room and others are for GPL-compatible programs only. */
const LICENSE = "GPL";

/** How a test run ended. */
export interface TestRun {
  /** The program's verdict. */
  readonly verdict: number;
  /** The packet as the program left it, from its link-layer header on. */
  readonly packet: Uint8Array;
}

/** A loaded program: a classifier, unless it was loaded as another type. */
export class BpfProgram implements Disposable {
  /** @param fd that this instance owns from now on */
  constructor(readonly name: string, readonly fd: number) {}

  /**
   * Loads a program.
   *
   * @param maps descriptors of the maps that it names
   * @param type hook that it is attached to
   * @throws {BpfError} when the verifier refuses it, with its log; when the kernel lets nobody load
   * programs, without
   */
  static load(
    name: string,
    program: AssembledProgram,
    maps: Readonly<Record<string, number>> = {},
    type: ProgramTypeName = "BPF_PROG_TYPE_SCHED_CLS",
  ): BpfProgram {
    const instructions = linkProgram(program, maps);
    try {
      return new BpfProgram(name, load(name, instructions, type));
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      // The log costs time and memory and is wanted only by who failed.
      using arena = new Arena();
      const log = arena.allocate(LOG_SIZE);
      try {
        return new BpfProgram(name, load(name, instructions, type, log));
      } catch (cause) {
        if (!(cause instanceof SysError)) throw cause;
        const text = new TextDecoder().decode(log.bytes.subarray(0, log.bytes.indexOf(0)));
        throw new BpfError(name, cause, text);
      }
    }
  }

  /** Number by which links and filters name it. */
  get id(): number {
    return objectInfo(this.fd, 8).getUint32(4, true);
  }

  /** Hash of the instructions, 16 hex digits. It does not depend on the maps. */
  get tag(): string {
    return formatTag(objectInfo(this.fd, 16), 8);
  }

  /**
   * Runs the program on a packet (BPF_PROG_TEST_RUN). Nothing is sent: a redirection is only a
   * verdict. The packet counts as addressed to us, and as come in by the loopback device.
   *
   * @param packet from the Ethernet header on, at least 14 bytes
   * @throws {SysError} EINVAL for a packet that is too short or too long
   */
  run(packet: Uint8Array): TestRun {
    using arena = new Arena();
    const input = arena.allocate(packet.length);
    input.bytes.set(packet);
    const output = arena.allocate(packet.length + 256);
    const attributes = arena.allocate(80);
    const { view } = attributes;
    view.setInt32(0, this.fd, true);
    view.setUint32(8, input.bytes.length, true);
    view.setUint32(12, output.bytes.length, true);
    view.setBigUint64(16, input.address, true);
    view.setBigUint64(24, output.address, true);
    view.setUint32(32, 1, true);
    bpf("BPF_PROG_TEST_RUN", attributes.bytes, { subject: this.name });
    return {
      verdict: view.getInt32(4, true),
      packet: output.bytes.slice(0, view.getUint32(12, true)),
    };
  }

  /**
   * Attaches the program to a tracepoint, which passes its arguments as an array of u64 (a program of
   * type BPF_PROG_TYPE_RAW_TRACEPOINT).
   *
   * @param tracepoint `kfree_skb`
   * @returns a descriptor: attached until it is closed
   * @throws {SysError} ENOENT when this kernel has no such tracepoint; EINVAL when the program reads more
   * arguments than it has
   */
  attachRawTracepoint(tracepoint: string): number {
    using arena = new Arena();
    const name = arena.allocate(tracepoint.length + 1);
    name.bytes.set(cString(tracepoint));
    const attributes = arena.allocate(16);
    attributes.view.setBigUint64(0, name.address, true);
    attributes.view.setInt32(8, this.fd, true);
    return bpf("BPF_RAW_TRACEPOINT_OPEN", attributes.bytes, { subject: tracepoint });
  }

  /** Closes the descriptor. The program lives on while a link or a filter holds it. */
  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
  }
}

function load(
  name: string,
  instructions: Uint8Array<ArrayBuffer>,
  type: ProgramTypeName,
  log?: { readonly address: bigint },
): number {
  using arena = new Arena();
  const code = arena.allocate(instructions.length);
  code.bytes.set(instructions);
  const license = arena.allocate(LICENSE.length + 1);
  license.bytes.set(cString(LICENSE));
  const attributes = arena.allocate(72);
  const { view } = attributes;
  view.setUint32(0, ProgramType[type], true);
  view.setUint32(4, instructions.length / 8, true);
  view.setBigUint64(8, code.address, true);
  view.setBigUint64(16, license.address, true);
  if (log !== undefined) {
    view.setUint32(24, 1, true);
    view.setUint32(28, LOG_SIZE, true);
    view.setBigUint64(32, log.address, true);
  }
  attributes.bytes.set(objectName(name), 48);
  return bpf("BPF_PROG_LOAD", attributes.bytes);
}
