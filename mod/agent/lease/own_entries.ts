/**
 * The agent's rules for its own entries in the store, without kernel and backend: shared with the model
 * of the lease protocol (`tests/model`).
 *
 * @module
 */
import type { NetworkConfig } from "../../config/mod.ts";
import type { Lease, LeaseAttributes } from "../../lease/mod.ts";
import type { AcquireOptions } from "../../subnet/mod.ts";
import type { StoreView } from "../core/store_view.ts";
import type { LeaseKeeper } from "./keeper.ts";

/**
 * Checks that this host still holds its node record and its lease, as the view shows them.
 *
 * @param attributes those of the active network; `undefined` while none is up, and the lease not checked
 * @returns the lease that this host has lost, if any
 * @throws {DuplicatePublicIPError} when another live host has its public IP
 * @throws {StoreError} as the store does
 */
export async function checkOwnEntries(
  keeper: LeaseKeeper,
  view: StoreView,
  attributes: LeaseAttributes | undefined,
): Promise<Lease | undefined> {
  if (view.recordNews !== undefined) {
    await keeper.guard(view.recordNews.agent);
    view.recordNews = undefined;
  }
  const held = keeper.lease;
  if (held === undefined || attributes === undefined) return undefined;
  return await keeper.observe(view.leases.get(held.subnet), attributes) ? undefined : held;
}

/**
 * Acquires a lease among those of the view, and adds it there: the watch reports the write later.
 *
 * @throws as {@linkcode LeaseKeeper.acquire} does
 */
export async function acquireInView(
  keeper: LeaseKeeper,
  view: StoreView,
  config: NetworkConfig,
  attributes: LeaseAttributes,
  { previous, foreignLeaseReason, ...given }: Pick<AcquireOptions, "previous" | "unusable"> & {
    readonly foreignLeaseReason?: ((lease: Lease) => string | undefined) | undefined;
  },
): Promise<Lease> {
  const snapshot = { leases: [...view.leases.values()] };
  const lease = await keeper.acquire(config, attributes, previous, foreignLeaseReason, {
    ...given,
    snapshot,
  });
  view.leases.apply([{ put: lease }]);
  return lease;
}
