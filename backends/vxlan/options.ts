import { ConfigError, type GoObject } from "../../mod/config/mod.ts";

/** Bytes that vxlan adds inside the underlay's MTU: IPv4 20, UDP 8, VXLAN 8, Ethernet 14. */
const ENCAPSULATION = 50;

/** Linux's own vxlan port (drivers/net/vxlan), which flannel's `Port: 0` means; not IANA's 4789. */
const DEFAULT_PORT = 8472;

/** The smallest MTU an IPv4 device can have (RFC 791). */
const SMALLEST_MTU = 68;

/** `Backend` of a vxlan network. */
export interface VxlanOptions {
  /** VXLAN network identifier, 24 bits; the device is `flannel.<VNI>`. @default 1 */
  readonly vni: number;
  /** UDP destination port. @default 8472 */
  readonly port: number;
  /** Group based policy extension. @default false */
  readonly gbp: boolean;
  /** Source MAC learning. @default false */
  readonly learning: boolean;
  /** Plain routes to peers on the external interface's link. @default false */
  readonly directRouting: boolean;
  /** MTU of the device, in bytes: that of the interface (or option `MTU`) less 50. */
  readonly mtu: number;
}

/**
 * Reads the options.
 *
 * @param interfaceMtu of the external interface, in bytes
 * @throws {ConfigError} for a value of the wrong type or out of range
 */
export function vxlanOptions(options: GoObject, interfaceMtu: number): VxlanOptions {
  const vni = options.int("VNI", { min: 0, max: 2 ** 24 - 1 }) ?? 1;
  const port = options.int("Port", { min: 0, max: 65535 }) ?? 0;
  const smallest = SMALLEST_MTU + ENCAPSULATION;
  const underlay = options.int("MTU", { min: 0, max: 65535 }) ?? 0;
  if (underlay !== 0 && underlay < smallest) {
    throw new ConfigError(
      `${options.path("MTU")} must be from ${smallest} to 65535, or 0 for the interface's own, ` +
        `not ${underlay}`,
    );
  }
  return {
    vni,
    port: port === 0 ? DEFAULT_PORT : port,
    gbp: options.bool("GBP") ?? false,
    learning: options.bool("Learning") ?? false,
    directRouting: options.bool("DirectRouting") ?? false,
    mtu: (underlay === 0 ? interfaceMtu : underlay) - ENCAPSULATION,
  };
}
