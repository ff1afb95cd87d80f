import { formatIPv4 } from "../../ip/mod.ts";
import { type AgentIdentity, LEASE_TTL } from "../../lease/mod.ts";
import type { CallOptions, Store } from "../../store/mod.ts";
import { isOf } from "../commands/release.ts";
import type { Removal } from "../commands/removal.ts";

/**
 * Looks in the store for what this host's records say of its data path, which a clean-up ends: other hosts
 * would go on to send what nothing here takes any more, flannel's own proxy least of all.
 *
 * @throws {StoreError} as the store does
 */
export async function findFeatures(
  store: Store,
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
        `${features.join(", ")} from the agent record of ${formatIPv4(publicIP)} in ${store.name}`,
      ],
      remove: async () => void await store.putAgent(publicIP, bare, LEASE_TTL, revision, options),
    }];
  });
}
