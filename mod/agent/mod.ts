/**
 * The daemon: one network's life from its config to shutdown.
 *
 * @module
 */
export type * from "./options.ts";
export * from "./run.ts";
