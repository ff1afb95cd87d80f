import { decodeNetworkConfig, hideSecrets, type NetworkConfig } from "../../config/mod.ts";
import { info, shorten, warning } from "../../observe/mod.ts";
import { ConflictError } from "../errors.ts";
import type { NetworkStore } from "../network_store.ts";

/**
 * Writes the network config of the flags where there is none. An existing config stays, since it may
 * have been changed and hosts use it; the log reports one that differs.
 *
 * @throws {ConfigError} when the seed is no network config
 * @throws {StoreError} as the store does
 */
export async function seedConfig(store: NetworkStore, seed: string): Promise<void> {
  const wanted = await decodeNetworkConfig(seed);
  const { config } = await store.snapshot();
  if ("missing" in config) {
    try {
      await store.putConfig(seed, undefined);
      info(`Network config written to the ${store.name}: ${shown(seed)}`);
      return;
    } catch (error) {
      // Another process was faster; the agent checks that config when it reads it.
      if (error instanceof ConflictError) return;
      throw error;
    }
  }
  if (await says(config.text, wanted)) return;
  warning(
    `The network config in the ${store.name} holds: ${shown(config.text)}. The flags -network, ` +
      `-subnet-len and -backend, which ask for ${shown(seed)}, are for the first start alone; ` +
      "'flanneld config set' changes it",
  );
}

function shown(config: string): string {
  return shorten(hideSecrets(config));
}

async function says(text: string, wanted: NetworkConfig): Promise<boolean> {
  let config: NetworkConfig;
  try {
    config = await decodeNetworkConfig(text);
  } catch {
    // The agent reports its error.
    return false;
  }
  return config.network.equals(wanted.network) && config.subnetLen === wanted.subnetLen &&
    backendOf(config) === backendOf(wanted);
}

/** The backend and its options, written in one way. */
function backendOf({ text, backend }: NetworkConfig): string {
  const { backend: options = {} } = canonical(JSON.parse(text)) as Record<string, object>;
  return JSON.stringify(canonical({ ...options, type: backend.type }));
}

/** Sorts keys, in lower case, since Go's decoder ignores case. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).map(([key, member]) =>
    [key.toLowerCase(), canonical(member)] as const
  );
  return Object.fromEntries(members.sort(([a], [b]) => a < b ? -1 : 1));
}
