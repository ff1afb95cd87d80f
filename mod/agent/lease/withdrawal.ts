import { formatIPv4 } from "../../ip/mod.ts";
import { type AgentIdentity, LEASE_TTL } from "../../lease/mod.ts";
import type { CallOptions, NetworkStore } from "../../store/mod.ts";
import { isOf } from "../commands/release.ts";
import type { Removal } from "../commands/removal.ts";

/**
 * Finds features in this host's node records that a clean-up must withdraw: other hosts would go on sending
 * packets that need them, which neither an empty host nor upstream flannel accepts.
 *
 * @throws {StoreError} as the store does
 */
export async function findFeatures(
  store: NetworkStore,
  host: Pick<AgentIdentity, "machineId" | "hostname">,
  options: CallOptions,
): Promise<Removal[]> {
  const { agents } = await store.snapshot(options);
  return agents.flatMap((agent) => {
    const { features, ...bare } = agent.record;
    if (features === undefined || !isOf(agent, host)) return [];
    const { publicIP, revision } = agent;
    return [{
      what: [
        `${features.join(", ")} from the node record of ${formatIPv4(publicIP)} in ${store.name}`,
      ],
      remove: async () =>
        void await store.putNodeRecord(publicIP, bare, LEASE_TTL, revision, options),
    }];
  });
}
