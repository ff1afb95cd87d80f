import { type AssembledProgram, linkProgram } from "./assembler.ts";
import { bpf } from "./call.ts";
import { formatTag } from "./info.ts";
import { BpfProgram } from "./program.ts";

/** The kernel hashes with SHA-256 from Linux 6.18 on, before with SHA-1. */
const HASHES = ["SHA-256", "SHA-1"];

/**
 * The tags that a kernel may give a program, which identify it without loading it: 16 hex digits of a hash of
 * its instructions. They do not depend on its maps.
 */
export function tagsOf(program: AssembledProgram): Promise<string[]> {
  const none = Object.fromEntries(program.relocations.map(({ map }) => [map, 0]));
  const instructions = linkProgram(program, none);
  return Promise.all(HASHES.map(async (hash) => {
    const digest = new DataView(await crypto.subtle.digest(hash, instructions));
    return formatTag(digest, 0);
  }));
}

/**
 * The tag of a program that is in the kernel.
 *
 * @throws {SysError} ENOENT when it is gone; EPERM without CAP_SYS_ADMIN
 */
export function tagOfLoaded(id: number): string {
  const attributes = new Uint8Array(new ArrayBuffer(16));
  new DataView(attributes.buffer).setUint32(0, id, true);
  const name = `program ${id}`;
  using program = new BpfProgram(
    name,
    bpf("BPF_PROG_GET_FD_BY_ID", attributes, { subject: name }),
  );
  return program.tag;
}
