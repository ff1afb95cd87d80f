import { LEASE_TTL, PERMANENT } from "../lease/mod.ts";

/** After a failed renewal the next try follows in a minute, as flannel's. */
export const RENEWAL_RETRY = 60;

/** Share of the wait by which renewals are brought forward at random, at most. */
const JITTER = 0.25;

/**
 * Returns the seconds until a lease is to be renewed: its time to live less the margin, brought forward by
 * up to a quarter at random. Hosts that a power failure has started together would renew together, and each
 * renewal is a change that all hosts receive.
 *
 * Counted from the time to live that the store returned, never from its absolute expiration: that
 * would add the difference of two clocks.
 *
 * @param ttl seconds left now; {@linkcode PERMANENT} for a reservation; absent counts as 24 hours
 * @param margin seconds before expiry, `-subnet-lease-renew-margin`
 * @returns `undefined` for a reservation, which needs no renewal
 */
export function renewalDelay(
  ttl: number | undefined,
  margin: number,
  random: () => number = Math.random,
): number | undefined {
  if (ttl === PERMANENT) return undefined;
  return Math.max((ttl ?? LEASE_TTL) - margin, 0) * (1 - JITTER * random());
}
