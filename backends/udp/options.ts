import { ConfigError, type GoObject } from "../../mod/config/mod.ts";
import { fixedBy, type SourceCheck, type UdpHostOptions } from "../backend.ts";
import { UdpDataPath } from "./user/data_path.ts";

/** flannel's port; not assigned by IANA. */
const DEFAULT_PORT = 8285;

/** The smallest MTU an IPv4 device can have (RFC 791). */
const SMALLEST_MTU = 68;

/** `Backend` of a udp network. */
export interface UdpOptions {
  /** UDP port, ours and every peer's. @default 8285 */
  readonly port: number;
  /** MTU of the device, in bytes: that of the interface less 28. */
  readonly mtu: number;
}

/**
 * Reads the options.
 *
 * @param interfaceMtu of the external interface, in bytes
 * @throws {ConfigError} for a value of the wrong type or out of range
 */
export function udpOptions(options: GoObject, interfaceMtu: number): UdpOptions {
  const port = options.int("Port", { min: 0, max: 65535 }) ?? 0;
  const mtu = interfaceMtu - UdpDataPath.OVERHEAD;
  if (mtu < SMALLEST_MTU) {
    throw new ConfigError(
      `udp needs an interface MTU of at least ${SMALLEST_MTU + UdpDataPath.OVERHEAD}, ` +
        `not ${interfaceMtu}`,
    );
  }
  return { port: port === 0 ? DEFAULT_PORT : port, mtu };
}

/** Who decides on inner sources outside the network. */
export function udpSourceCheck(
  port: number,
  { acceptAny, strictSource }: UdpHostOptions = {},
): SourceCheck {
  const fixed = acceptAny
    ? { isStrict: false, reason: "-udp-accept-any" }
    : fixedBy("-udp-strict-source", strictSource);
  return { port, by: "backend", fixed };
}
