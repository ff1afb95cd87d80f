/**
 * Checks writes of a client of a server without credentials. It may write the lease and the node record whose
 * public IP is the client's address, as an agent does for its host, unless the host has credentials of the store.
 *
 * @module
 */
import type { IPv4, Prefix } from "../ip/mod.ts";
import { LEASE_TTL, type LeaseAttributes, PERMANENT, type StoredNodeRecord } from "../lease/mod.ts";
import type { Expect } from "../store/kv/kv.ts";
import { ConflictError } from "../store/mod.ts";
import type { WirePut } from "../store/remote/wire.ts";
import { isCompatible } from "../subnet/mod.ts";
import { type Caller, requireOwn, requireTrust } from "./access.ts";
import { HttpError } from "../http/head.ts";
import { configOf, type ServedNetwork } from "./networks.ts";

/**
 * @throws {HttpError} when the lease, as it is or as it would be, is not the client's own
 * @throws {ConflictError} when the store has another lease than the client expects
 */
export async function requireOwnLease(
  network: ServedNetwork,
  subnet: Prefix,
  { attributes, ttl, expect }: WirePut & { readonly attributes: LeaseAttributes },
  caller: Caller,
): Promise<void> {
  if (caller.isTrusted) return;
  await requireOwnAddress(network, "the lease", attributes.publicIP, caller);
  if (!isCompatible(await configOf(network), subnet)) {
    throw new HttpError(403, `subnet ${subnet} does not fit the network config`);
  }
  const held = await network.store.lease(subnet);
  requireChecked(held, expect, caller);
  if (held !== undefined) requireOwn(caller, "the lease", held.attributes.publicIP);
  const isReserved = held?.ttl === PERMANENT;
  if ((ttl === PERMANENT) !== isReserved) requireTrust(caller, "a reservation");
  requireUsualTtl(ttl);
}

/**
 * @returns false when there is nothing to delete
 * @throws {HttpError} when somebody else holds the lease
 * @throws {ConflictError} when the store has another lease than the client expects
 */
export async function requireOwnDeletion(
  network: ServedNetwork,
  subnet: Prefix,
  expect: Expect,
  caller: Caller,
): Promise<boolean> {
  if (caller.isTrusted) return true;
  if (expect === "any") requireTrust(caller, ANY);
  const held = await network.store.lease(subnet);
  if (held === undefined) return false;
  await requireOwnAddress(network, "the lease", held.attributes.publicIP, caller);
  requireChecked(held, expect, caller);
  return true;
}

/**
 * @param ttl of the record to be written; `undefined` for a deletion
 * @throws {HttpError} when the record is not the client's own
 * @throws {ConflictError} when the store has another record than the client expects
 */
export async function requireOwnRecord(
  network: ServedNetwork,
  publicIP: IPv4,
  { ttl, expect }: Pick<WirePut, "expect"> & Partial<WirePut>,
  caller: Caller,
): Promise<void> {
  if (caller.isTrusted) return;
  requireChecked(
    await requireOwnAddress(network, "the node record", publicIP, caller),
    expect,
    caller,
  );
  if (ttl === PERMANENT) requireTrust(caller, "a permanent node record");
  requireUsualTtl(ttl ?? 0);
}

/** Refuses an address that is not the client's, and one whose host has written its node record with credentials. */
async function requireOwnAddress(
  { store }: ServedNetwork,
  what: string,
  publicIP: IPv4,
  caller: Caller,
): Promise<StoredNodeRecord | undefined> {
  requireOwn(caller, what, publicIP);
  const held = await store.agent(publicIP);
  if (held !== undefined && !held.record.isUnauthenticated) {
    requireTrust(
      caller,
      `${what} of ${caller.address}, whose host ${held.record.hostname} has them,`,
    );
  }
  return held;
}

/**
 * Refuses a write over, or a deletion of, another revision than the one that was checked: another host may write
 * between the check and the change.
 */
function requireChecked(
  held: { readonly revision: string } | undefined,
  expect: Expect,
  caller: Caller,
): void {
  if (expect === "any") return requireTrust(caller, ANY);
  if (expect === "absent" ? held === undefined : held?.revision === expect.revision) return;
  throw new ConflictError("the entry is not the one that was read");
}

const ANY = "a change of any revision";

function requireUsualTtl(ttl: number): void {
  if (ttl > LEASE_TTL) {
    throw new HttpError(403, `a lifetime of ${ttl} s is longer than a lease's, ${LEASE_TTL} s`);
  }
}
