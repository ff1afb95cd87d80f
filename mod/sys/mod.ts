/**
 * The C library's functions, for all layers, and what they share on top of them: netlink, eBPF, TLS, locks.
 *
 * @module
 */
export * from "./ffi/arena.ts";
export * from "./ffi/errno.ts";
export * from "./refusal.ts";
export * from "./ethtool.ts";
export * from "./file_lock.ts";
export * from "./ffi/free_memory.ts";
export * from "./ffi/libc.ts";
export * from "./ffi/poller.ts";
export * from "./lock_holder.ts";
export * from "./namespace.ts";
export * from "./netlink/mod.ts";
export * from "./notify_socket.ts";
export * from "./tun_device.ts";
