import { Arena } from "../ffi/arena.ts";
import { bpf } from "./call.ts";

/**
 * BPF_OBJ_GET_INFO_BY_FD: the kernel's description of a map, program or link.
 *
 * @param size how much of the information is wanted, in bytes; what the kernel does not have is zero
 */
export function objectInfo(fd: number, size: number): DataView {
  using arena = new Arena();
  const info = arena.allocate(size);
  const attributes = arena.allocate(16);
  attributes.view.setInt32(0, fd, true);
  attributes.view.setUint32(4, size, true);
  attributes.view.setBigUint64(8, info.address, true);
  bpf("BPF_OBJ_GET_INFO_BY_FD", attributes.bytes);
  return new DataView(info.bytes.slice().buffer);
}

/** The hash of a program's instructions in eight bytes, as 16 hex digits. */
export function formatTag(view: DataView, at: number): string {
  return view.getBigUint64(at, false).toString(16).padStart(16, "0");
}
