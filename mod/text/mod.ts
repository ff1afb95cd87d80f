/**
 * Words of messages: counts with their nouns, durations, and long values cut short.
 *
 * @module
 */
export * from "./counted.ts";
export * from "./duration.ts";
export * from "./truncate.ts";
