/**
 * Words of messages: counts with their nouns, and long values cut short.
 *
 * @module
 */
export * from "./counted.ts";
export * from "./truncate.ts";
