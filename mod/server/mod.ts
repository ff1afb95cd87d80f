/**
 * The server of `-listen`, over any store.
 *
 * @module
 */
export { ownHostNames } from "./host_names.ts";
export type { NetworkSource } from "./networks.ts";
export * from "./server.ts";
