/**
 * The network config: how it is decoded, its defaults, its validation.
 *
 * @module
 */
export * from "./decode.ts";
export * from "./errors.ts";
export * from "./go_json.ts";
export type * from "./network_config.ts";
export * from "./range.ts";
export * from "./secrets.ts";
export * from "./unknown_keys.ts";
