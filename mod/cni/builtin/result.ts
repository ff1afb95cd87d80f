import { formatIPv4, type IPv4, Prefix } from "../../ip/mod.ts";
import type { JsonObject } from "../json.ts";
import { type CniVersion, isAtLeast } from "../version.ts";

const DEFAULT = new Prefix(0, 0);

/** An attachment as ADD made it. */
export interface Attached {
  readonly bridge: { readonly name: string; readonly mac: string };
  readonly hostEnd: { readonly name: string; readonly mac: string };
  readonly container: { readonly name: string; readonly mac: string; readonly sandbox: string };
  readonly mtu: number;
  readonly address: IPv4;
  readonly prefixLength: number;
  readonly gateway: IPv4;
  readonly networks: readonly Prefix[];
  readonly isDefaultGateway: boolean;
}

/** Encodes the result of ADD; interfaces are in the order of the bridge plugin's. */
export function encodeResult(
  attached: Attached,
  dns: JsonObject,
  cniVersion: CniVersion,
): string {
  const { bridge, hostEnd, container, address, prefixLength, gateway } = attached;
  const mtu = isAtLeast(cniVersion, "1.1.0") ? { mtu: attached.mtu } : {};
  return JSON.stringify({
    cniVersion,
    interfaces: [{ ...bridge, ...mtu }, { ...hostEnd, ...mtu }, { ...container, ...mtu }],
    ips: [{
      ...isAtLeast(cniVersion, "1.0.0") ? {} : { version: "4" },
      address: `${formatIPv4(address)}/${prefixLength}`,
      gateway: formatIPv4(gateway),
      interface: 2,
    }],
    routes: routesOf(attached).map((prefix) => ({
      dst: String(prefix),
      gw: formatIPv4(gateway),
    })),
    dns,
  });
}

/** Returns the destinations of the container's routes by the gateway. */
export function routesOf(
  { networks, isDefaultGateway }: Pick<Attached, "networks" | "isDefaultGateway">,
): Prefix[] {
  return [...networks, ...isDefaultGateway ? [DEFAULT] : []];
}
