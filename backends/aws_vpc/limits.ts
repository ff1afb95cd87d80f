import type { Ec2Route } from "./ec2.ts";

/** "Amazon VPC quotas", routes per route table: the quota of an account that asked for no more; 50 until June 2025. */
const DEFAULT_LIMIT = 500;

/** The most that can be asked for. */
const HIGHEST_LIMIT = 1000;

/** Part of a limit from which on the agent warns. */
const NEAR = 0.9;

/**
 * Returns the warning for a table that is nearly full: each host of the network needs a route in it. Routes
 * that a gateway propagates do not count.
 *
 * @param routes those with an IPv4 destination, which have a quota of their own
 */
export function limitWarning(tableId: string, routes: readonly Ec2Route[]): string | undefined {
  const count = routes.filter(({ isOwn, target }) => isOwn || target === "local").length;
  const limit = count <= DEFAULT_LIMIT ? DEFAULT_LIMIT : HIGHEST_LIMIT;
  if (count < limit * NEAR) return undefined;
  return `route table ${tableId} holds ${count} routes, and AWS allows ` +
    (limit === DEFAULT_LIMIT
      ? `${DEFAULT_LIMIT} unless the account's quota "Routes per route table" (L-93826ACB) was ` +
        `raised, up to ${HIGHEST_LIMIT}: further hosts may get no route`
      : `${HIGHEST_LIMIT} at the very most: further hosts need a backend that encapsulates, such as ` +
        "vxlan");
}
