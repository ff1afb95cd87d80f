import { LEASE_TTL, type LeaseAttributes } from "../../../mod/lease/mod.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { delay } from "../../lab/process.ts";
import { ConflictError } from "../../../mod/store/errors.ts";
import type { ChaosCluster } from "../cluster.ts";
import { type Heal, STRAY } from "../fault.ts";

/** Outside of what agents lease themselves. */
const SUBNET = Prefix.parse("10.20.250.0/24")!;

/** Lease of a host that does not exist. */
export function strayAttributes({ backend: { type } }: ChaosCluster): LeaseAttributes {
  return {
    publicIP: parseIPv4(STRAY)!,
    ...(type === "udp" ? {} : { backendType: type }),
    ...(type === "vxlan" ? { backendData: { VtepMAC: "0a:00:00:00:00:08" } } : {}),
  };
}

/** Lets a host come that is not there. @returns what lets it go */
export async function grantStrayLease(cluster: ChaosCluster, subnet = SUBNET): Promise<Heal> {
  await cluster.store.insist(async (store, signal) => {
    try {
      await store.createLease(subnet, strayAttributes(cluster), LEASE_TTL, { signal });
    } catch (error) {
      // Of an attempt whose reply was lost, or of a round that shares the address.
      if (!(error instanceof ConflictError)) throw error;
      const there = await store.lease(subnet, { signal });
      if (there?.attributes.publicIP !== parseIPv4(STRAY)) throw error;
    }
  });
  return () => removeLease(cluster, subnet);
}

/** Removes a subnet's lease, whoever has it. */
export async function removeLease({ store }: ChaosCluster, subnet: Prefix): Promise<void> {
  await store.insist(async (direct, signal) => {
    const lease = await direct.lease(subnet, { signal });
    if (lease !== undefined) await direct.removeLease(lease, { signal });
  });
}

/** Waits until a condition holds. @throws {Error} after a minute */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}`);
    await delay(100);
  }
}
