/**
 * The daemon: one network's life from its config to shutdown.
 *
 * @module
 */
export type * from "./core/options.ts";
export * from "./core/run.ts";
