import { loadBackend } from "../../../backends/registry.ts";
import { ProviderError } from "../../../backends/provider/errors.ts";
import { ConfigError, decodeNetworkConfig } from "../../config/mod.ts";
import type { ExternalInterface } from "../../host/mod.ts";
import type { Prefix } from "../../ip/mod.ts";
import type { NetworkStore } from "../../store/mod.ts";
import type { Removal } from "./removal.ts";

/** Limit for a provider to find this host's routes and remove them, in milliseconds. */
export const PROVIDER_LIMIT = 120_000;

/** Options of {@linkcode findProviderRoutes}. */
export interface ProviderRoutesOptions {
  readonly formerNetworks: readonly Prefix[];
  readonly signal: AbortSignal;
  /** Called with the reason when the routes cannot be read. */
  readonly onFailed: (message: string) => void;
}

/**
 * Finds this host's routes in the tables of a cloud provider, if the network's backend makes such routes.
 */
export async function findProviderRoutes(
  store: NetworkStore,
  external: ExternalInterface,
  { formerNetworks, signal, onFailed }: ProviderRoutesOptions,
): Promise<Removal[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PROVIDER_LIMIT)]);
  try {
    const { config: stored } = await store.snapshot({ signal });
    if ("missing" in stored) return [];
    const config = await decodeNetworkConfig(stored.text);
    const backend = await loadBackend(config.backend.type);
    const found = await backend.release?.({ config, external, formerNetworks, signal: limit }) ??
      [];
    return found.map(({ what, remove }) => ({ what: [what], remove }));
  } catch (error) {
    // No agent could use this config, so there are no routes.
    if (error instanceof ConfigError) return [];
    if (!(error instanceof ProviderError)) throw error;
    onFailed(`routes at the provider: ${error.message}`);
    return [];
  }
}
