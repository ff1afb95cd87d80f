/**
 * Members of the JSON object that a call of dockerd has for its body.
 *
 * @module
 */
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import { DockerPluginError } from "../errors.ts";

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** An address with the length of its network: `10.20.5.3/24`. */
export interface NetworkAddress {
  readonly address: IPv4;
  /** The network that the address is in. */
  readonly pool: Prefix;
}

/**
 * Parses the body of a call.
 *
 * @throws {DockerPluginError} when it is no JSON object. Docker sends no body at all when it repeats a call whose
 *   first attempt broke off
 */
export function parseBody(body: string): JsonObject {
  if (body.trim() === "") throw new DockerPluginError("the call has no body; try again");
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new DockerPluginError("the body of the call is not JSON");
  }
  if (isObject(value)) return value;
  throw new DockerPluginError("the body of the call is not a JSON object");
}

/** @throws {DockerPluginError} when it is neither a string nor absent. @returns "" when it is absent */
export function text(from: JsonObject, name: string): string {
  const value = member(from, name) ?? "";
  if (typeof value === "string") return value;
  throw new DockerPluginError(`${name} is not a string`);
}

/** @throws {DockerPluginError} when it is not an identifier of Docker's, which are hexadecimal */
export function id(from: JsonObject, name: string): string {
  const value = text(from, name);
  if (/^[0-9a-z]{12,64}$/.test(value)) return value;
  throw new DockerPluginError(
    `${name} is ${JSON.stringify(value)}, not 12 to 64 letters and digits`,
  );
}

/** @throws {DockerPluginError} when it is neither an object nor absent. @returns `{}` when it is absent */
export function object(from: JsonObject, name: string): JsonObject {
  const value = member(from, name) ?? {};
  if (isObject(value)) return value;
  throw new DockerPluginError(`${name} is not an object`);
}

/** @throws {DockerPluginError} when it is no array of objects. @returns none when it is absent */
export function objects(from: JsonObject, name: string): readonly JsonObject[] {
  const value = member(from, name) ?? [];
  if (Array.isArray(value) && value.every(isObject)) return value;
  throw new DockerPluginError(`${name} is not an array of objects`);
}

/**
 * Parses `10.20.5.3/24`.
 *
 * @throws {DockerPluginError} for another text
 */
export function parseNetworkAddress(value: string): NetworkAddress {
  const [host = ""] = value.split("/");
  const [address, pool] = [parseIPv4(host), Prefix.parse(value)];
  if (address !== undefined && pool !== undefined) return { address, pool };
  throw new DockerPluginError(
    `${JSON.stringify(value)} is not an IPv4 address with a length, such as 10.20.5.3/24`,
  );
}

/** Writes an address as {@linkcode parseNetworkAddress} reads it. */
export function formatNetworkAddress({ address, pool }: NetworkAddress): string {
  return `${formatIPv4(address)}/${pool.length}`;
}

function member(from: JsonObject, name: string): unknown {
  return Object.hasOwn(from, name) ? from[name] ?? undefined : undefined;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
