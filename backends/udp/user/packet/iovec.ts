import type { PacketMemory } from "./memory.ts";

/** Bytes of `struct iovec`: a pointer and a size_t. */
export const IOVEC = 16;

/**
 * Address of packet memory as a number, which avoids a bigint for each packet. User space ends at 2^47 on x86-64 and
 * 2^52 on arm64; numbers are exact up to 2^53.
 */
export function baseAddress(memory: PacketMemory): number {
  return Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory.bytes)));
}

/** Writes a pointer to `at`. */
export function writePointer(view: DataView, at: number, address: number): void {
  view.setUint32(at, address >>> 0, true);
  view.setUint32(at + 4, address / 0x100000000, true);
}

/** Writes a `struct iovec` to `at`. */
export function writeIovec(view: DataView, at: number, address: number, length: number): void {
  writePointer(view, at, address);
  view.setUint32(at + 8, length, true);
  view.setUint32(at + 12, 0, true);
}
