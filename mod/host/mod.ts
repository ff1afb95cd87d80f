/**
 * The host the agent runs on: its interfaces, identity and kernel parameters.
 *
 * @module
 */
export * from "./choose_interface.ts";
export * from "./errors.ts";
export type * from "./external_interface.ts";
export * from "./find_interface.ts";
export * from "./identity.ts";
export * from "./interface_watch.ts";
export * from "./name_servers.ts";
export type * from "./options.ts";
export * from "./sysctl.ts";
