import { ConfigError, type GoObject } from "../../mod/config/mod.ts";
import { fixedBy, type SourceCheck, type UdpHostOptions } from "../backend.ts";
import { UdpDataPath } from "./user/data_path.ts";

/** flannel's port; not assigned by IANA. */
const DEFAULT_PORT = 8285;

/** Smallest MTU of an IPv4 device, in bytes (RFC 791). */
const MIN_MTU = 68;

/** `Backend` of a udp network. */
export interface UdpOptions {
  /** UDP port of this host and of every peer. @default 8285 */
  readonly port: number;
  /** MTU of the device, in bytes: 28 less than that of the interface. */
  readonly mtu: number;
}

/**
 * Reads the options.
 *
 * @param interfaceMtu MTU of the external interface, in bytes
 * @throws {ConfigError} for a value of the wrong type or out of range
 */
export function udpOptions(options: GoObject, interfaceMtu: number): UdpOptions {
  const port = options.int("Port", { min: 0, max: 65535 }) ?? 0;
  const mtu = interfaceMtu - UdpDataPath.OVERHEAD;
  if (mtu < MIN_MTU) {
    throw new ConfigError(
      `udp needs an interface MTU of at least ${MIN_MTU + UdpDataPath.OVERHEAD}, ` +
        `not ${interfaceMtu}`,
    );
  }
  return { port: port === 0 ? DEFAULT_PORT : port, mtu };
}

/** The check of inner sources outside the network: the backend does it, by flags or by the peers' features. */
export function udpSourceCheck(
  port: number,
  { acceptAny, strictSource }: UdpHostOptions = {},
): SourceCheck {
  const fixed = acceptAny
    ? { isStrict: false, reason: "-udp-accept-any" }
    : fixedBy("-udp-strict-source", strictSource);
  return { port, by: "backend", fixed };
}
