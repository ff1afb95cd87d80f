import { decodeNetworkConfig, type NetworkConfig, unknownKeys } from "../mod/config/mod.ts";
import { loadBackend } from "./registry.ts";

/** MTU of Ethernet (IEEE 802.3), in bytes: what a host's interface has unless somebody changed it. */
const INTERFACE_MTU = 1500;

/** A config that agents can use. */
export interface CheckedConfig {
  readonly config: NetworkConfig;
  /**
   * MTU for containers, in bytes, on a host whose interface has 1500; `undefined` where only the host
   * itself knows it.
   */
  readonly mtu: number | undefined;
  /** Keys without a meaning, one line each; agents use the config all the same. */
  readonly warnings: readonly string[];
}

/**
 * Reads a network config as an agent does, the backend's own options included, away from any host.
 *
 * @param text as stored under `<prefix>/config`
 * @throws {ConfigError} when an agent could not use it
 *
 * @example
 * ```ts
 * import { checkConfig } from "./check_config.ts";
 * const { mtu } = await checkConfig('{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}');
 * console.assert(mtu === 1450);
 * ```
 */
export async function checkConfig(text: string): Promise<CheckedConfig> {
  const config = await decodeNetworkConfig(text);
  const backend = await loadBackend(config.backend.type);
  const mtu = backend.mtuFor?.(config.backend.options, INTERFACE_MTU);
  // Without `mtuFor` it is not known which options the backend has.
  return { config, mtu, warnings: backend.mtuFor === undefined ? [] : unknownKeys(config) };
}
