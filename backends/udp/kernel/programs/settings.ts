import type { BackendContext } from "../../../backend.ts";
import type { PathSettings } from "./layout.ts";

/** Builds the constants of a network's programs. */
export function pathSettings(
  { config, external, udp, isSourceStrict }: BackendContext,
  own: Pick<PathSettings, "device" | "port" | "own">,
): PathSettings {
  return {
    ...own,
    underlay: external.index,
    mtu: external.mtu,
    address: external.address,
    network: config.network,
    acceptAny: udp?.acceptAny ?? false,
    strictSource: isSourceStrict?.() ?? false,
  };
}
