/**
 * Checks writes below `/store` by a client without credentials. It may write the lease and the node record whose
 * public IP is the client's address, as an agent does for its host.
 *
 * @module
 */
import type { Prefix } from "../ip/mod.ts";
import { LEASE_TTL, type LeaseAttributes, PERMANENT } from "../lease/mod.ts";
import type { WirePut } from "../store/remote/wire.ts";
import { isCompatible } from "../subnet/mod.ts";
import { type Caller, requireOwn, requireTrust } from "./access.ts";
import { HttpError } from "../http/head.ts";
import { configOf, type ServedNetwork } from "./networks.ts";

/** @throws {HttpError} when the lease, as it is or as it would be, is not the client's own */
export async function requireOwnLease(
  network: ServedNetwork,
  subnet: Prefix,
  { attributes, ttl, expect }: WirePut & { readonly attributes: LeaseAttributes },
  caller: Caller,
): Promise<void> {
  if (caller.isTrusted) return;
  requireRevision(expect, caller);
  requireOwn(caller, "the lease", attributes.publicIP);
  if (!isCompatible(await configOf(network), subnet)) {
    throw new HttpError(403, `subnet ${subnet} does not fit the network config`);
  }
  // The store refuses a lease that must not exist when it does.
  const held = expect === "absent" ? undefined : await network.store.lease(subnet);
  if (held !== undefined) requireOwn(caller, "the lease", held.attributes.publicIP);
  const isReserved = held?.ttl === PERMANENT;
  if ((ttl === PERMANENT) !== isReserved) requireTrust(caller, "a reservation");
  requireUsualTtl(ttl);
}

/** @throws {HttpError} when somebody else holds the lease */
export async function requireOwnDeletion(
  { store }: ServedNetwork,
  subnet: Prefix,
  caller: Caller,
): Promise<void> {
  if (caller.isTrusted) return;
  const held = await store.lease(subnet);
  if (held !== undefined) requireOwn(caller, "the lease", held.attributes.publicIP);
}

/** @throws {HttpError} when the record is not the client's own */
export function requireOwnRecord(
  publicIP: number,
  put: WirePut | undefined,
  caller: Caller,
): void {
  if (caller.isTrusted) return;
  requireOwn(caller, "the node record", publicIP);
  if (put === undefined) return;
  requireRevision(put.expect, caller);
  if (put.ttl === PERMANENT) requireTrust(caller, "a permanent node record");
  requireUsualTtl(put.ttl);
}

/** Refuses a blind write: between the check of an entry and the write, another host may create it. */
function requireRevision(expect: WirePut["expect"], caller: Caller): void {
  if (expect === "any") requireTrust(caller, "a write over any revision");
}

function requireUsualTtl(ttl: number): void {
  if (ttl > LEASE_TTL) {
    throw new HttpError(403, `a lifetime of ${ttl} s is longer than a lease's, ${LEASE_TTL} s`);
  }
}
