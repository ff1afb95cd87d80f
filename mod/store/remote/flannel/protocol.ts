/**
 * The messages of flannel 0.7.1's client/server protocol, byte for byte as its server writes them:
 * what both `-listen` and `-remote` read and write.
 *
 * Requests go to `/v1/{network}/...`; the unnamed network is `_`. Answers are one line of JSON.
 *
 * @module
 */
import type { NetworkConfig } from "../../../config/mod.ts";
import { type JsonNode, parseJson } from "../../../config/json_syntax.ts";
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../../../ip/mod.ts";
import {
  decodeLeaseValue,
  encodeGoJson,
  encodeLeaseValue,
  type JsonValue,
  type LeaseAttributes,
  LeaseValueError,
  parseGoJson,
} from "../../../lease/mod.ts";
import { WireError } from "../wire_error.ts";
import { truncate } from "../../../text/mod.ts";

/** `Content-Type` of answers with a body of JSON. */
export const JSON_TYPE = "application/json; charset=utf-8";

/** A lease on the wire. */
export interface WireLease {
  readonly subnet: Prefix;
  readonly attributes: LeaseAttributes;
  /** Milliseconds since the epoch by the server's clock; `undefined` for a reservation. */
  readonly expiration: number | undefined;
}

/** An event of a lease. */
export interface WireLeaseEvent {
  readonly type: "added" | "removed";
  /** Of a removed lease: as last known. */
  readonly lease: WireLease;
}

/** An event of a network. */
export interface WireNetworkEvent {
  readonly type: "added" | "removed";
  readonly network: string;
}

/** An answer to `GET /v1/{network}/leases` and `GET /v1/{network}/leases/{key}`. */
export type LeaseWatchAnswer =
  | { readonly events: readonly WireLeaseEvent[]; readonly cursor: string }
  | { readonly snapshot: readonly WireLease[]; readonly cursor: string };

/** An answer to `GET /v1/`. */
export type NetworkWatchAnswer =
  | { readonly events: readonly WireNetworkEvent[]; readonly cursor: string }
  | { readonly snapshot: readonly string[]; readonly cursor: string };

/** A reservation on the wire. */
export interface WireReservation {
  readonly subnet: Prefix;
  readonly publicIP: IPv4;
}

/** Go's zero time, by which 0.7.1 marks a lease without expiry. */
const NEVER = "0001-01-01T00:00:00Z";

/** The empty lease that Go writes beside the name of a network. */
const NO_LEASE = `{"Subnet":"0.0.0.0/0","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"${NEVER}"}`;

/** The config as 0.7.1 serves it: with its defaults filled in, and only what that version knows. */
export function encodeWireConfig(config: NetworkConfig): string {
  const { network, subnetMin, subnetMax, subnetLen, text } = config;
  const backend = backendText(text);
  return `{"Network":"${network}","SubnetMin":"${formatIPv4(subnetMin)}",` +
    `"SubnetMax":"${formatIPv4(subnetMax)}","SubnetLen":${subnetLen}` +
    `${backend === undefined ? "" : `,"Backend":${backend}`}}\n`;
}

/** `Backend` of a config, as it was written but for the spaces; Go's rules choose among several. */
function backendText(text: string): string | undefined {
  const node = parseJson(text);
  if (node.kind !== "object") return undefined;
  const found = node.members.findLast(([key]) => key.toLowerCase() === "backend")?.[1];
  return found && compact(found);
}

/** A value without spaces, its members and numbers as they were written. */
function compact(node: JsonNode): string {
  switch (node.kind) {
    case "object":
      return `{${node.members.map(([key, value]) => `${encodeGoJson(key)}:${compact(value)}`)}}`;
    case "array":
      return `[${node.elements.map(compact)}]`;
    case "string":
      return encodeGoJson(node.value);
    case "number":
      return node.text;
    case "bool":
      return String(node.value);
    case "null":
      return "null";
  }
}

/** The lease alone: the answer to POST and PUT, and with it the body of PUT. */
export function encodeWireLease(lease: WireLease): string {
  return `${leaseText(lease)}\n`;
}

/** @throws {WireError} when it is none */
export function decodeWireLease(text: string): WireLease {
  return leaseOf(parse(text));
}

/** The body of a POST that asks for a lease. */
export function decodeWireAttributes(text: string): LeaseAttributes {
  return attributesOf(parse(text));
}

/** An answer to a watch of leases, or to the question for them. */
export function encodeLeaseWatch(answer: LeaseWatchAnswer): string {
  return watchText(
    "events" in answer
      ? answer.events.map(({ type, lease }) => `{"type":"${type}","lease":${leaseText(lease)}}`)
      : undefined,
    "snapshot" in answer ? answer.snapshot.map(leaseText) : undefined,
    answer.cursor,
  );
}

/**
 * Reads an answer to a watch of leases. A server passes on what somebody wrote into its store: a lease whose
 * value cannot be read is left out, or removed, and the others stand.
 *
 * @param ignore called with each such lease and its problem
 * @throws {WireError} when it is none
 */
export function decodeLeaseWatch(
  text: string,
  ignore: (subnet: Prefix, why: string) => void = () => {},
): LeaseWatchAnswer {
  const { events, snapshot, cursor } = watchOf(text);
  const read = (value: unknown): WireLease | { readonly subnet: Prefix } => {
    try {
      return leaseOf(value);
    } catch (error) {
      if (!(error instanceof WireError && error.cause instanceof LeaseValueError)) throw error;
      const subnet = prefixOf(membersOf(value).subnet);
      ignore(subnet, error.cause.message);
      return { subnet };
    }
  };
  if (events === undefined) {
    return { snapshot: snapshot.map(read).filter((lease) => "attributes" in lease), cursor };
  }
  return {
    cursor,
    events: events.map(({ type, value }) => {
      const lease = read(value.lease);
      return "attributes" in lease ? { type, lease } : {
        type: "removed",
        lease: { ...lease, attributes: { publicIP: 0 }, expiration: undefined },
      };
    }),
  };
}

/** An answer to a watch of networks, or to the question for them. */
export function encodeNetworkWatch(answer: NetworkWatchAnswer): string {
  return watchText(
    "events" in answer
      ? answer.events.map(({ type, network }) =>
        `{"type":"${type}","lease":${NO_LEASE},"network":${encodeGoJson(network)}}`
      )
      : undefined,
    "snapshot" in answer ? answer.snapshot.map((name) => encodeGoJson(name)) : undefined,
    answer.cursor,
  );
}

/** @throws {WireError} when it is none */
export function decodeNetworkWatch(text: string): NetworkWatchAnswer {
  const { events, snapshot, cursor } = watchOf(text);
  return events === undefined ? { snapshot: snapshot.map(textOf), cursor } : {
    cursor,
    events: events.map(({ type, value }) => ({ type, network: textOf(value.network) })),
  };
}

/** The answer to `GET /v1/{network}/reservations`. */
export function encodeReservations(reservations: readonly WireReservation[]): string {
  return `[${reservations.map(reservationText).join()}]\n`;
}

/** The body of a POST that asks for a reservation. */
export function encodeReservation(reservation: WireReservation): string {
  return reservationText(reservation);
}

/** @throws {WireError} when it is none */
export function decodeReservation(text: string): WireReservation {
  const { subnet, publicIP } = membersOf(parse(text));
  return { subnet: prefixOf(subnet), publicIP: addressOf(publicIP) };
}

/**
 * A time as Go writes it: RFC 3339 with as many digits of the second as it takes.
 *
 * @param time milliseconds since the epoch; `undefined` for Go's zero time
 */
export function formatExpiration(time: number | undefined): string {
  return time === undefined ? NEVER : new Date(time).toISOString().replace(/\.?0*Z$/, "Z");
}

/** @returns `undefined` for Go's zero time @throws {WireError} when it is not a time */
export function parseExpiration(text: string): number | undefined {
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const time = isTime ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) throw new WireError(`Expiration is ${shown(text)}, not a time`);
  return text === NEVER ? undefined : time;
}

function leaseText({ subnet, attributes, expiration }: WireLease): string {
  return `{"Subnet":"${subnet}","Attrs":${encodeLeaseValue(attributes, "v0.7")},` +
    `"Expiration":"${formatExpiration(expiration)}"}`;
}

function reservationText({ subnet, publicIP }: WireReservation): string {
  return `{"Subnet":"${subnet}","PublicIP":"${formatIPv4(publicIP)}"}`;
}

function watchText(
  events: readonly string[] | undefined,
  snapshot: readonly string[] | undefined,
  cursor: string,
): string {
  const list = (items: readonly string[] | undefined) => items ? `[${items.join()}]` : "null";
  return `{"events":${list(events)},"snapshot":${list(snapshot)},` +
    `"cursor":${encodeGoJson(cursor)}}\n`;
}

interface RawEvent {
  readonly type: "added" | "removed";
  readonly value: Members;
}

/** As 0.7.1 reads it: without events, what counts is the snapshot, even when that is empty. */
function watchOf(text: string): {
  events: readonly RawEvent[] | undefined;
  snapshot: readonly unknown[];
  cursor: string;
} {
  const { events, snapshot, cursor } = membersOf(parse(text));
  const raw = arrayOf("events", events).map((value) => {
    const members = membersOf(value);
    const { type } = members;
    if (type !== "added" && type !== "removed") throw new WireError("bad event type");
    return { type, value: members } as const;
  });
  return {
    events: raw.length === 0 ? undefined : raw,
    snapshot: arrayOf("snapshot", snapshot),
    cursor: textOf(cursor),
  };
}

function leaseOf(value: unknown): WireLease {
  const { subnet, attrs, expiration } = membersOf(value);
  return {
    subnet: prefixOf(subnet),
    attributes: attributesOf(attrs),
    expiration: expiration === undefined ? undefined : parseExpiration(textOf(expiration)),
  };
}

function attributesOf(value: unknown): LeaseAttributes {
  try {
    return decodeLeaseValue(JSON.stringify(value ?? null));
  } catch (error) {
    if (!(error instanceof LeaseValueError)) throw error;
    throw new WireError(`the lease's value ${error.message}`, { cause: error });
  }
}

function prefixOf(value: unknown): Prefix {
  const prefix = typeof value === "string" ? Prefix.parse(value) : undefined;
  if (prefix === undefined) throw new WireError(`Subnet is ${shown(value)}, not a subnet`);
  return prefix;
}

function addressOf(value: unknown): IPv4 {
  const address = typeof value === "string" ? parseIPv4(value) : undefined;
  if (address === undefined) throw new WireError(`PublicIP is ${shown(value)}, not an address`);
  return address;
}

/** Members of an object under their names in lower camel case, which fold as Go's decoder does. */
interface Members {
  readonly [name: string]: unknown;
}

const FOLDED: ReadonlyMap<string, string> = new Map(
  [
    ...["subnet", "attrs", "expiration", "publicIP"],
    ...["events", "snapshot", "cursor", "type", "lease", "network"],
  ].map((name) => [name.toLowerCase(), name]),
);

function membersOf(value: unknown): Members {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new WireError(`${shown(value)} is not an object`);
  }
  const members: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    const name = FOLDED.get(key.toLowerCase());
    if (name !== undefined && member !== null) members[name] = member;
  }
  return members;
}

function arrayOf(name: string, value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new WireError(`${name} is not an array`);
  return value;
}

function textOf(value: unknown): string {
  if (typeof value !== "string") throw new WireError(`${shown(value)} is not a string`);
  return value;
}

function parse(text: string): JsonValue {
  try {
    return parseGoJson(text);
  } catch (cause) {
    throw new WireError(goWords(text), { cause });
  }
}

/** Returns Go's message for a text that is not JSON. */
function goWords(text: string): string {
  if (text.trim() === "") return "EOF";
  try {
    parseJson(text);
  } catch (error) {
    return (error as Error).message;
  }
  return "not JSON";
}

function shown(value: unknown): string {
  const text = String(JSON.stringify(value));
  return truncate(text, 80);
}
