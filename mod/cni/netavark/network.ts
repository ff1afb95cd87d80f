import { formatIPv4, gatewayOf, type Prefix } from "../../ip/mod.ts";
import { type BuiltinOptions, isMtu, MTU_RANGE, readBuiltin } from "../builtin/options.ts";
import { SUBNET_FILE } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject } from "../json.ts";

/** Options of a Podman network, checked. */
export interface NetworkOptions {
  readonly subnetFile: string;
  readonly builtin: BuiltinOptions;
}

/** Members of a network that this driver determines, and the option of `podman network create` that sets each. */
const DETERMINED = [
  ["subnets", "--subnet"],
  ["routes", "--route"],
  ["network_interface", "--interface-name"],
  ["ipv6_enabled", "--ipv6"],
  ["internal", "--internal"],
] as const;

/** Names of `podman network create -o`: of Podman's own bridge networks, and of the CNI configuration. */
const OPTIONS = ["mtu", "no_default_route", "subnetFile"];

/**
 * Completes a network that Podman creates. The addresses are those of this moment, for `podman network inspect`: a
 * container gets one of the lease that the host has when the container starts. Podman leases none itself (the IPAM
 * driver `none`), and aardvark-dns serves networks of Podman's own drivers alone.
 *
 * @param subnet of this host
 * @throws {CniError} for an option that the driver does not take
 */
export function createNetwork(network: JsonObject, subnet: Prefix): JsonObject {
  for (const [member, option] of DETERMINED) {
    const value = network[member];
    if (Array.isArray(value) ? value.length > 0 : Boolean(value)) throw refused(option);
  }
  const driver = isObject(network.ipam_options) ? network.ipam_options.driver : undefined;
  if (driver !== undefined && driver !== "none") throw refused("--ipam-driver");
  return {
    ...network,
    network_interface: readOptions(network).builtin.bridge,
    subnets: [{ subnet: String(subnet), gateway: formatIPv4(gatewayOf(subnet)) }],
    dns_enabled: false,
    ipam_options: { driver: "none" },
  };
}

function refused(option: string): CniError {
  return new CniError(
    Code.UNSUPPORTED_FIELD,
    `flannel networks do not take ${option}`,
    "leave it out",
  );
}

/** Reads a network's options. @throws {CniError} 2 for an unknown option; 7 for an invalid value */
export function readOptions(network: JsonObject): NetworkOptions {
  const options = isObject(network.options) ? network.options : {};
  for (const name of Object.keys(options)) {
    if (OPTIONS.includes(name)) continue;
    throw new CniError(
      Code.UNSUPPORTED_FIELD,
      `unknown option ${JSON.stringify(name)}`,
      `flannel networks have ${OPTIONS.join(", ")}`,
    );
  }
  const { mtu, no_default_route: noDefaultRoute = "false", subnetFile = SUBNET_FILE } = options;
  if (mtu !== undefined && !(/^\d+$/.test(String(mtu)) && isMtu(Number(mtu)))) {
    throw invalid("mtu", mtu, `a whole number from ${MTU_RANGE.join(" to ")}`);
  }
  if (noDefaultRoute !== "true" && noDefaultRoute !== "false") {
    throw invalid("no_default_route", noDefaultRoute, "true or false");
  }
  if (typeof subnetFile !== "string" || !/^\/[^\0]*$/.test(subnetFile)) {
    throw invalid("subnetFile", subnetFile, "an absolute path");
  }
  return {
    subnetFile,
    builtin: {
      ...readBuiltin({ isDefaultGateway: noDefaultRoute === "false" }),
      ...mtu === undefined ? {} : { mtu: Number(mtu) },
    },
  };
}

function invalid(name: string, value: unknown, expected: string): CniError {
  return new CniError(
    Code.INVALID_CONFIG,
    `invalid option ${name}: ${JSON.stringify(value)}`,
    `expected ${expected}`,
  );
}
