/**
 * Calls of libnetwork's remote network driver (`NetworkDriver.*`).
 *
 * @module
 */
import { formatIPv4, gatewayOf, type Prefix } from "../../ip/mod.ts";
import { DockerPluginError } from "../errors.ts";
import {
  id,
  type JsonObject,
  type NetworkAddress,
  object,
  objects,
  parseNetworkAddress,
  text,
} from "./fields.ts";

/** A network to be created. */
export interface NewNetwork {
  readonly networkId: string;
  readonly pool: Prefix;
}

/** An endpoint to be created: a container's interface. */
export interface NewEndpoint extends NetworkAddress {
  readonly networkId: string;
  readonly endpointId: string;
  /** Of `--mac-address`; "" for any. */
  readonly mac: string;
}

const GENERIC = "com.docker.network.generic";
const INTERNAL = "com.docker.network.internal";
const PORTS = "com.docker.network.portmap";

/** @throws {DockerPluginError} for what the plugin does not offer */
export function readNewNetwork(from: JsonObject): NewNetwork {
  const networkId = id(from, "NetworkID");
  const options = object(from, "Options");
  if (options[INTERNAL] === true) {
    throw new DockerPluginError("flannel networks are not internal: leave --internal out");
  }
  const [option] = Object.keys(object(options, GENERIC));
  if (option !== undefined) {
    throw new DockerPluginError(`flannel networks have no option ${JSON.stringify(option)}`);
  }
  if (objects(from, "IPv6Data").length > 0) {
    throw new DockerPluginError("flannel networks have no IPv6 addresses: leave --ipv6 out");
  }
  const [data, other] = objects(from, "IPv4Data");
  if (data === undefined || other !== undefined) {
    throw new DockerPluginError(
      "a flannel network has one IPv4 subnet: give --subnet once at most",
    );
  }
  if (Object.keys(object(data, "AuxAddresses")).length > 0) {
    throw new DockerPluginError("flannel networks have no --aux-address");
  }
  const { pool } = parseNetworkAddress(text(data, "Pool"));
  const gateway = text(data, "Gateway");
  if (gateway !== "") requireGateway(parseNetworkAddress(gateway), pool);
  return { networkId, pool };
}

/** @throws {DockerPluginError} when a gateway is not the first address of its pool */
function requireGateway({ address }: NetworkAddress, pool: Prefix): void {
  if (address === gatewayOf(pool)) return;
  throw new DockerPluginError(
    `the gateway of ${pool} is ${formatIPv4(gatewayOf(pool))}, not ${formatIPv4(address)}: ` +
      "leave --gateway out",
  );
}

/** @throws {DockerPluginError} for what the plugin does not offer */
export function readNewEndpoint(from: JsonObject): NewEndpoint {
  requireNoPorts(from);
  const its = object(from, "Interface");
  const mac = text(its, "MacAddress").toLowerCase();
  if (mac !== "" && !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) {
    throw new DockerPluginError(`${JSON.stringify(mac)} is not a MAC address`);
  }
  if (text(its, "AddressIPv6") !== "") {
    throw new DockerPluginError("flannel networks have no IPv6 addresses");
  }
  return {
    ...readEndpoint(from),
    ...parseNetworkAddress(text(its, "Address")),
    mac,
  };
}

/** @throws {DockerPluginError} when an identifier is malformed */
export function readEndpoint(
  from: JsonObject,
): { readonly networkId: string; readonly endpointId: string } {
  return { networkId: id(from, "NetworkID"), endpointId: id(from, "EndpointID") };
}

/** @throws {DockerPluginError} when a container is to publish ports, which the plugin does not do */
export function requireNoPorts(from: JsonObject): void {
  const [port] = objects(object(from, "Options"), PORTS);
  if (port === undefined) return;
  throw new DockerPluginError(
    `flannel networks publish no ports (${String(port.Port)}): leave -p out, containers are ` +
      "reached by their own addresses",
  );
}
