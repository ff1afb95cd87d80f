import { isInterfaceName } from "../call.ts";
import { CniError, Code } from "../errors.ts";
import type { JsonObject } from "../json.ts";

/** Directory of the leases. Its files go at a reboot, as containers and their namespaces do. */
export const LEASE_DIRECTORY = "/run/flannel/cni";

/** The member `builtin` of a configuration. */
export interface BuiltinOptions {
  /** Name of the bridge. */
  readonly bridge: string;
  /** Bytes. @default FLANNEL_MTU */
  readonly mtu?: number;
  /** The bridge returns a container's packets to itself, as Kubernetes services need. */
  readonly hairpinMode: boolean;
  /** The container's default route leads to the bridge. */
  readonly isDefaultGateway: boolean;
  /** Directory of the leases. */
  readonly leaseDir: string;
}

/** MTU that IPv4 needs at least (RFC 791), and that veth takes at most. */
export const MTU_RANGE = [68, 65535] as const;

/** Returns whether an interface can have the MTU. */
export function isMtu(value: unknown): value is number {
  const [least, most] = MTU_RANGE;
  return Number.isInteger(value) && least <= (value as number) && (value as number) <= most;
}

/**
 * Checks the member `builtin`.
 *
 * @throws {CniError} 2 for an unknown member; 7 for an invalid value
 */
export function readBuiltin(input: JsonObject): BuiltinOptions {
  const known = ["bridge", "mtu", "hairpinMode", "isDefaultGateway", "leaseDir"];
  const { bridge = "cni0", mtu, hairpinMode = false, isDefaultGateway = true } = input;
  const { leaseDir = LEASE_DIRECTORY } = input;
  for (const [key, value] of Object.entries(input)) {
    if (known.includes(key)) continue;
    throw new CniError(
      Code.UNSUPPORTED_FIELD,
      `unsupported field builtin.${key}: ${JSON.stringify(value)}`,
      `builtin has ${known.join(", ")}`,
    );
  }
  if (typeof bridge !== "string" || !isInterfaceName(bridge)) {
    throw invalid("bridge", bridge, "the name of an interface, 1 to 15 bytes");
  }
  if (mtu !== undefined && !isMtu(mtu)) {
    throw invalid("mtu", mtu, `a whole number from ${MTU_RANGE.join(" to ")}`);
  }
  if (typeof hairpinMode !== "boolean") throw invalid("hairpinMode", hairpinMode, "true or false");
  if (typeof isDefaultGateway !== "boolean") {
    throw invalid("isDefaultGateway", isDefaultGateway, "true or false");
  }
  if (typeof leaseDir !== "string" || !/^\/[^\0]*$/.test(leaseDir)) {
    throw invalid("leaseDir", leaseDir, "an absolute path");
  }
  return {
    ...{ bridge, hairpinMode, isDefaultGateway, leaseDir },
    ...mtu === undefined ? {} : { mtu },
  };
}

function invalid(key: string, value: unknown, expected: string): CniError {
  return new CniError(
    Code.INVALID_CONFIG,
    `invalid builtin.${key}: ${JSON.stringify(value)}`,
    `expected ${expected}`,
  );
}
