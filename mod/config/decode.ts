import { formatIPv4, type IPv4, Prefix } from "../ip/mod.ts";
import { readNetwork } from "./cidr.ts";
import { ConfigError } from "./errors.ts";
import { GoObject } from "./go_json.ts";
import type { NetworkConfig } from "./network_config.ts";
import { requireContainerRange } from "./range.ts";

/** `Backend.Type` of a config without `Backend`. */
const DEFAULT_BACKEND = "udp";

/** Bits between the network's length and the default one of a subnet, where 24 does not fit. */
const LEAST_SUBNET_BITS = 2;

/**
 * Decodes the network config like newer flannel: Go's JSON rules, its defaults, its checks and
 * its messages, each with key, value and remedy. Also refuses configs that 0.7.1 accepted and then failed on (a missing
 * Network, subnets off their boundaries, an empty range).
 *
 * @param text as stored under `<prefix>/config`
 * @throws {ConfigError} when the text cannot be used
 */
export async function decodeNetworkConfig(text: string): Promise<NetworkConfig> {
  const config = GoObject.parse(text);
  refuseWhatIsNotThere(config);
  const network = await decodeNetwork(config);
  const subnetLen = decodeSubnetLen(config, network);
  const step = 2 ** (32 - subnetLen);
  // The first subnet is left out by default: its network address is the network's own.
  const subnetMin = decodeBound(config, "SubnetMin", network, subnetLen) ?? network.address + step;
  const subnetMax = decodeBound(config, "SubnetMax", network, subnetLen) ?? network.last + 1 - step;
  if (subnetMin > subnetMax) {
    throw new ConfigError(
      `out of subnets: SubnetMin ${formatIPv4(subnetMin)} is above SubnetMax ` +
        `${formatIPv4(subnetMax)}; SubnetMin must be the lower one`,
    );
  }
  return {
    ...{ network, subnetLen, subnetMin, subnetMax },
    backend: decodeBackend(config),
    enableNFTables: config.bool("EnableNFTables") ?? false,
    members: config,
    text,
  };
}

function refuseWhatIsNotThere(config: GoObject): void {
  const ipv6 = config.bool("EnableIPv6");
  if (ipv6 === true) {
    throw new ConfigError('IPv6 is not there yet: EnableIPv6 is true; set "EnableIPv6": false');
  }
  const key = ["IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"]
    .filter((key) => config.has(key))[0];
  // With EnableIPv6 written out as false, these have no effect in flannel either.
  if (key !== undefined && ipv6 === undefined) {
    throw new ConfigError(
      `IPv6 is not there yet: the config has ${key}; take it out, or set "EnableIPv6": false`,
    );
  }
  if (config.bool("EnableIPv4") === false) {
    throw new ConfigError(
      'EnableIPv4 is false, and IPv6 is not there yet; set "EnableIPv4": true or take it out',
    );
  }
}

async function decodeNetwork(config: GoObject): Promise<Prefix> {
  const text = config.string("Network");
  if (text === undefined) {
    throw new ConfigError(
      "please define a correct Network parameter in the flannel config: Network is missing; " +
        'write for example {"Network": "10.20.0.0/16"}',
    );
  }
  const network = await readNetwork("Network", text);
  if (network.length === 0) {
    throw new ConfigError(
      `please define a correct Network parameter in the flannel config: ` +
        `Network is ${JSON.stringify(text)}, which holds every address there is`,
    );
  }
  requireContainerRange(network);
  return network;
}

function decodeSubnetLen(config: GoObject, network: Prefix): number {
  const given = config.int("SubnetLen", { min: 0, goType: "uint" }) ?? 0;
  if (given === 0) {
    if (network.length > 28) {
      throw new ConfigError(
        `network is too small. Minimum useful network prefix is /28: Network is ${network}`,
      );
    }
    return network.length <= 22 ? 24 : network.length + LEAST_SUBNET_BITS;
  }
  if (given > 30) {
    throw new ConfigError(
      `SubnetLen must be less than /31: SubnetLen is ${given}; ` +
        "a subnet holds at least a host's bridge and a container",
    );
  }
  if (given < network.length + LEAST_SUBNET_BITS) {
    const least = network.length + LEAST_SUBNET_BITS;
    throw new ConfigError(
      `network must be able to accommodate at least four subnets: SubnetLen ${given} ` +
        `in Network ${network}; ` +
        (least <= 30 ? `SubnetLen must be from ${least} to 30` : "Network must be /28 or larger"),
    );
  }
  return given;
}

/** Reads SubnetMin or SubnetMax: the first address of a subnet inside the network. */
function decodeBound(
  config: GoObject,
  key: string,
  network: Prefix,
  subnetLen: number,
): IPv4 | undefined {
  const address = config.ip(key);
  // Go's zero value: flannel treats 0.0.0.0 like an absent key.
  if (address === undefined || address === 0) return undefined;
  if (!network.contains(address)) {
    throw new ConfigError(
      `${key} is not in the range of the Network: ${key} is ${formatIPv4(address)}, ` +
        `Network is ${network}`,
    );
  }
  const subnet = new Prefix(address, subnetLen);
  if (subnet.address !== address) {
    throw new ConfigError(
      `${key} is not on a SubnetLen boundary: ${formatIPv4(address)}; ` +
        `the /${subnetLen} around it starts at ${formatIPv4(subnet.address)}`,
    );
  }
  return address;
}

function decodeBackend(config: GoObject): NetworkConfig["backend"] {
  const isThere = config.has("Backend");
  let options: GoObject;
  let type: string | undefined;
  try {
    options = config.object("Backend") ?? GoObject.empty();
    type = options.string("Type");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`error decoding Backend property of config: ${error.message}`, {
      cause: error,
    });
  }
  if (!isThere) return { type: DEFAULT_BACKEND, options };
  if (type === undefined || type === "") {
    throw new ConfigError(
      "unknown backend type: Backend has no Type; " +
        'write for example "Backend": {"Type": "vxlan"}, or leave Backend out for udp',
    );
  }
  return { type: type.toLowerCase(), options };
}
