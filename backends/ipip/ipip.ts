import { ConfigError, type GoObject } from "../../mod/config/mod.ts";
import { reconciledBackend } from "../reconciled/backend.ts";
import { peerRoute } from "../reconciled/driver.ts";
import { formatEnd, IPIP, type IpipAttributes } from "./link_kind.ts";

/** flannel's name. */
const DEVICE = "flannel.ipip";

/** IPPROTO_IPIP of netinet/in.h: the IP protocol of encapsulated packets (RFC 2003). */
const PROTOCOL = 4;

/** Bytes of the outer IPv4 header. */
const OVERHEAD = 20;

/** The smallest MTU of an IPv4 device, in bytes (RFC 791). */
const SMALLEST_MTU = 68;

/** IPv4 in IPv4 in the kernel: as vxlan, with 30 bytes less around each packet and without a port. */
export const ipipBackend = reconciledBackend({
  type: "ipip",
  readOptions: ipipOptions,
  resources: () => [`device ${DEVICE}`],
  deviceNumber: ({ name, kind }) => name === DEVICE && kind === IPIP.name ? 0 : undefined,
  driver({ external: { address: local } }, { mtu, directRouting }) {
    return {
      ...{ mtu, directRouting },
      device: {
        ...{ name: DEVICE, mtu, kind: IPIP, attributes: { local } },
        mismatch(actual: IpipAttributes) {
          if (actual.remote !== undefined) return `remote: ${formatEnd(actual.remote)} vs any`;
          return actual.local === local
            ? undefined
            : `local: ${formatEnd(actual.local)} vs ${formatEnd(local)}`;
        },
      },
      encapsulation: { protocol: PROTOCOL, headers: 0 },
      sourceCheck: { by: "firewall" },
      desired: (lease, context) => ({ route: peerRoute(lease, context, "device") }),
    };
  },
});

/**
 * Reads `Backend` of an ipip network: `DirectRouting`.
 *
 * @param interfaceMtu of the external interface, in bytes
 * @throws {ConfigError} for a value of the wrong type, or an MTU that leaves no room
 */
export function ipipOptions(
  options: GoObject,
  interfaceMtu: number,
): { readonly mtu: number; readonly directRouting: boolean } {
  const mtu = interfaceMtu - OVERHEAD;
  if (mtu < SMALLEST_MTU) {
    throw new ConfigError(
      `ipip needs an interface MTU of at least ${SMALLEST_MTU + OVERHEAD}, not ${interfaceMtu}`,
    );
  }
  return { mtu, directRouting: options.bool("DirectRouting") ?? false };
}
