import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Action, Match, ProbePacket, ReadChain, ReadRule } from "../inspect/chain_walk.ts";
import { type Json, objectsOf } from "./nft_format.ts";
import { and, not } from "../iptables/read_iptables.ts";

/** A field of the packet; `absent` when it has no such header. */
type Value = string | number | "absent" | undefined;

/** Elements of the table's sets and maps, by name. */
type Sets = ReadonlyMap<string, readonly unknown[]>;

/** An element is no set. */
const NO_SETS: Sets = new Map();

/** Statements of libnftables-json(5) that end the packet's way through the chain. */
const VERDICTS: ReadonlySet<string> = new Set(["accept", "drop", "return", "continue"]);

/**
 * Makes the chains of one table walkable.
 *
 * @param text what `nft -j list table` wrote
 * @throws {FirewallError} when it is not that
 * @returns empty when the table is dormant
 */
export function readNftables(text: string): Map<string, ReadChain> {
  const sets = new Map<string, readonly unknown[]>();
  const chains = new Map<string, { policy?: "accept" | "drop"; rules: ReadRule[] }>();
  for (const [kind, value] of objectsOf(text)) {
    switch (kind) {
      case "table":
        if ([value.flags ?? []].flat().includes("dormant")) return new Map();
        break;
      case "set":
      case "map":
        sets.set(String(value.name), Array.isArray(value.elem) ? value.elem : []);
        break;
      case "chain":
        chains.set(String(value.name), {
          ...("hook" in value ? { policy: value.policy === "drop" ? "drop" : "accept" } : {}),
          rules: [],
        });
        break;
      case "rule":
        chains.get(String(value.chain))?.rules.push(readRule(value.expr, sets));
    }
  }
  return chains;
}

function readRule(expressions: unknown, sets: Sets): ReadRule {
  const statements = (Array.isArray(expressions) ? expressions : [])
    .flatMap((expression) => Object.entries(objectOf(expression)))
    .map(([kind, value]) => [kind, objectOf(value)] as const);
  return (packet) => {
    let matches: Match = true;
    let action: Action = { type: "continue" };
    for (const [kind, value] of statements) {
      if (kind === "match") {
        matches = and(matches, readMatch(value, packet, sets));
      } else if (kind === "limit" || kind === "xt") {
        matches = and(matches, undefined);
        if (kind === "xt") action = { type: "unknown" };
      } else if (VERDICTS.has(kind)) {
        action = { type: kind as "accept" };
      } else if (kind === "reject") {
        action = { type: "drop" };
      } else if (kind === "jump" || kind === "goto") {
        action = { type: kind, chain: String(value.target) };
      } else if (kind === "vmap") {
        action = readVerdictMap(value, packet, sets);
      } else if (kind === "queue") {
        action = { type: "unknown" };
      }
      if (matches === false) break;
    }
    return { matches, action };
  };
}

function readMatch({ op, left, right }: Json, packet: ProbePacket, sets: Sets): Match {
  const value = fieldOf(left, packet);
  if (value === "absent") return false;
  if (value === undefined) return undefined;
  switch (op) {
    case "==":
    case "in":
      return holds(right, value, sets);
    case "!=":
      return not(holds(right, value, sets));
    default:
      return compare(value, String(op), right);
  }
}

/** The verdict of the first element that holds the key. */
function readVerdictMap({ key, data }: Json, packet: ProbePacket, sets: Sets): Action {
  const value = fieldOf(key, packet);
  if (value === "absent") return { type: "continue" };
  const elements = elementsOf(data, sets);
  if (value === undefined || elements === undefined) return { type: "unknown" };
  for (const element of elements) {
    if (!Array.isArray(element)) return { type: "unknown" };
    const found = holds(element[0], value, sets);
    if (found === undefined) return { type: "unknown" };
    if (!found) continue;
    const [kind, about] = Object.entries(objectOf(element[1]))[0] ?? ["unknown"];
    if (VERDICTS.has(kind)) return { type: kind as "accept" };
    if (kind !== "jump" && kind !== "goto") return { type: "unknown" };
    return { type: kind, chain: String(objectOf(about).target) };
  }
  return { type: "continue" };
}

/** The packet's value of an expression, in the form in which `nft -j` writes what it is compared with. */
function fieldOf(expression: unknown, packet: ProbePacket): Value {
  const [kind, value] = Object.entries(objectOf(expression))[0] ?? [];
  const about = objectOf(value);
  switch (kind) {
    case "meta":
      return metaOf(about.key, packet);
    case "ct":
      return about.key === "state" ? "new" : about.key === "status" ? "" : undefined;
    case "fib":
      if (about.result !== "type" || [about.flags].flat().join() !== "daddr") return undefined;
      return packet.hook === "input" ? "local" : "unicast";
    case "payload":
      return payloadOf(about, packet);
    default:
      return undefined;
  }
}

function metaOf(key: unknown, packet: ProbePacket): Value {
  switch (key) {
    case "iifname":
    case "iif":
      return packet.inDevice;
    case "oifname":
    case "oif":
      return packet.outDevice;
    case "l4proto":
      return packet.protocol;
    case "nfproto":
      return "ipv4";
    case "protocol":
      return "ip";
    default:
      return undefined;
  }
}

function payloadOf({ protocol, field }: Json, packet: ProbePacket): Value {
  switch (protocol) {
    case "ip":
      if (field === "saddr") return packet.source;
      if (field === "daddr") return packet.destination;
      return field === "protocol" ? packet.protocol : undefined;
    case "th":
    case packet.protocol:
      return field === "dport" ? packet.port : undefined;
    case undefined: // raw bytes
    case "ether":
      return undefined;
    default:
      return "absent";
  }
}

/** Returns whether a value equals, or is contained in, the right side of a match. */
function holds(right: unknown, value: string | number, sets: Sets): Match {
  if (typeof right === "number") return value === right;
  if (typeof right === "string" && !right.startsWith("@")) return equals(right, value);
  const elements = elementsOf(right, sets);
  if (elements !== undefined) {
    const found = elements.map((element) =>
      holds(Array.isArray(element) ? element[0] : element, value, NO_SETS)
    );
    if (found.includes(true)) return true;
    return found.includes(undefined) ? undefined : false;
  }
  const { prefix, range, elem } = objectOf(right);
  if (prefix !== undefined && typeof value === "number") {
    const { addr, len } = objectOf(prefix);
    return Prefix.parse(`${addr}/${len}`)?.contains(value);
  }
  if (Array.isArray(range)) {
    return and(compare(value, ">=", range[0]), compare(value, "<=", range[1]));
  }
  return elem === undefined ? undefined : holds(objectOf(elem).val, value, sets);
}

/** `eth*` is every device whose name begins with `eth`; addresses are texts there. */
function equals(right: string, value: string | number): Match {
  if (typeof value === "number") {
    const address = parseIPv4(right);
    return address === undefined ? undefined : address === value;
  }
  return right.endsWith("*") ? value.startsWith(right.slice(0, -1)) : right === value;
}

function compare(value: string | number, op: string, right: unknown): Match {
  const other = typeof right === "string" ? parseIPv4(right) : right;
  if (typeof value !== "number" || typeof other !== "number") return undefined;
  switch (op) {
    case "<":
      return value < other;
    case "<=":
      return value <= other;
    case ">":
      return value > other;
    case ">=":
      return value >= other;
    default:
      return undefined;
  }
}

/** Of a named set, an anonymous one, or a list of alternatives. */
function elementsOf(right: unknown, sets: Sets): readonly unknown[] | undefined {
  if (typeof right === "string" && right.startsWith("@")) return sets.get(right.slice(1));
  if (Array.isArray(right)) return right;
  const { set } = objectOf(right);
  return Array.isArray(set) ? set : set === undefined ? undefined : [set];
}

/** Returns the value if it is an object, else an empty object: newer releases of nft may have another format. */
function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? value as Json : {};
}
