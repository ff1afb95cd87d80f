/**
 * The shared store behind one interface. The adapters are not re-exported: each is imported when
 * it is chosen, so that none pays for another's dependencies.
 *
 * @module
 */
export * from "./errors.ts";
export type * from "./store.ts";
