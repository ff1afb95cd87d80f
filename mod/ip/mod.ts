/**
 * IPv4 address and prefix arithmetic.
 *
 * @module
 */
export * from "./ipv4.ts";
export * from "./prefix.ts";
