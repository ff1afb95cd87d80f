/**
 * The algorithms on leases: acquire, renew, hold the identity, follow the others. They work over
 * any Store and know nothing of kernels.
 *
 * @module
 */
export * from "./acquire.ts";
export * from "./identity.ts";
export * from "./lease_set.ts";
export * from "./pick.ts";
export * from "./renewal.ts";
