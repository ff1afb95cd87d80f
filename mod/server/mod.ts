/**
 * The server of `-listen`: flannel 0.7.1's client/server protocol, and flanneld's own, over any store.
 *
 * @module
 */
export { ownHostNames } from "./host_names.ts";
export type { NetworkSource } from "./networks.ts";
export * from "./server.ts";
