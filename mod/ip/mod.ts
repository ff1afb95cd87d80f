/**
 * IPv4 address and prefix arithmetic.
 *
 * @module
 */
export * from "./container_addresses.ts";
export * from "./ipv4.ts";
export * from "./prefix.ts";
