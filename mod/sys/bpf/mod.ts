/**
 * Programs inside the kernel: bpf(2) without a compiler, an object file or a library.
 *
 * @module
 */
export * from "./assembler.ts";
export * from "./bpffs.ts";
export { kernelEnum, readBtfEnum } from "./btf.ts";
export * from "./constants.ts";
export * from "./error.ts";
export * from "./file_call.ts";
export * from "./link.ts";
export * from "./map.ts";
export * from "./program.ts";
export * from "./tag.ts";
