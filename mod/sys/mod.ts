/**
 * Everything that reaches the kernel through the C library.
 *
 * @module
 */
export * from "./arena.ts";
export * from "./errno.ts";
export * from "./refusal.ts";
export * from "./ethtool.ts";
export * from "./file_lock.ts";
export * from "./free_memory.ts";
export * from "./libc.ts";
export * from "./lock_holder.ts";
export * from "./namespace.ts";
export * from "./netlink/mod.ts";
export * from "./notify_socket.ts";
export * from "./tun_device.ts";
