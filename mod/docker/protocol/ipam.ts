/**
 * Calls of libnetwork's IPAM driver (`IpamDriver.*`).
 *
 * @module
 */
import { type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import { DockerPluginError } from "../errors.ts";
import { type JsonObject, object, text } from "./fields.ts";

/** Which addresses a Docker network has. */
export interface PoolRequest {
  /** Of `--subnet`; absent for the whole lease. */
  readonly pool?: Prefix;
  /** flannel's network, of `--ipam-opt network=NAME`. */
  readonly network?: string;
}

/** A request for an address. */
export interface AddressRequest {
  readonly pool: PoolId;
  /** Of `--ip` or `--gateway`; absent for any. */
  readonly address?: IPv4;
  /** The address is for the network's gateway, not for a container. */
  readonly isGateway: boolean;
}

/**
 * The addresses of a Docker network: a fixed part of the lease, or the lease that this host has of a network at the
 * time of the request.
 */
export type PoolId =
  | { readonly part: Prefix }
  | { readonly network: string };

const GATEWAY = "com.docker.network.gateway";

/** @throws {DockerPluginError} for what the plugin does not offer */
export function readPoolRequest(from: JsonObject): PoolRequest {
  if (member(from, "V6")) {
    throw new DockerPluginError("flannel networks have no IPv6 addresses: leave --ipv6 out");
  }
  if (text(from, "SubPool") !== "") {
    throw new DockerPluginError(
      "flannel networks have no --ip-range: give --subnet with a part of the lease",
    );
  }
  const options = object(from, "Options");
  const unknown = Object.keys(options).find((name) => name !== "network");
  if (unknown !== undefined) {
    throw new DockerPluginError(
      `unknown --ipam-opt ${
        JSON.stringify(unknown)
      }: expected network=NAME, a network of -networks`,
    );
  }
  const subnet = text(from, "Pool");
  const pool = Prefix.parse(subnet);
  if (subnet !== "" && pool === undefined) {
    throw new DockerPluginError(`--subnet ${JSON.stringify(subnet)} is not an IPv4 subnet`);
  }
  const network = text(options, "network");
  return { ...(pool && { pool }), ...(network !== "" && { network }) };
}

/** @throws {DockerPluginError} when a member is malformed */
export function readAddressRequest(from: JsonObject): AddressRequest {
  const given = text(from, "Address");
  const address = parseIPv4(given);
  if (given !== "" && address === undefined) {
    throw new DockerPluginError(`${JSON.stringify(given)} is not an IPv4 address`);
  }
  return {
    pool: parsePoolId(text(from, "PoolID")),
    ...(address !== undefined && { address }),
    isGateway: text(object(from, "Options"), "RequestAddressType") === GATEWAY,
  };
}

/** Encodes the identifier of a pool. dockerd stores it, so that the plugin need not. */
export function formatPoolId(pool: PoolId): string {
  return "part" in pool ? String(pool.part) : `lease:${pool.network}`;
}

/** @throws {DockerPluginError} when {@linkcode formatPoolId} writes no such text */
export function parsePoolId(value: string): PoolId {
  if (value.startsWith("lease:")) return { network: value.slice("lease:".length) };
  const part = Prefix.parse(value);
  if (part !== undefined && String(part) === value) return { part };
  throw new DockerPluginError(`${JSON.stringify(value)} is not a pool of this plugin`);
}

function member(from: JsonObject, name: string): boolean {
  return Object.hasOwn(from, name) && from[name] === true;
}
