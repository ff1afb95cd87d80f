/**
 * What a server of ours speaks besides flannel 0.7.1's protocol: the whole of a store, below
 * `/v1/{network}/store`, where a 0.7.1 has nothing and answers 404. It carries what that protocol
 * lacks: compare-and-swap, agents' records, the config as it was written and when it changes.
 *
 * | request | answer |
 * |---|---|
 * | `GET store/version` | {@linkcode VERSION_BODY}, whatever state the store is in |
 * | `GET store` | snapshot |
 * | `GET store?next=CURSOR` | within {@linkcode HELD_POLL}: changes, perhaps none, or a snapshot |
 * | `GET store/leases/{key}`, `GET store/agents/{ip}` | entry; 404 `gone` when there is none |
 * | `PUT store/leases/{key}`, `PUT store/agents/{ip}` | entry; 409 when it is not as expected |
 * | `DELETE store/leases/{key}?revision=R`, ... | nothing; 409 when it is not as expected |
 * | `PUT store/config`, `DELETE store/config` | nothing; 409 when it is not as expected |
 *
 * Another status of 400 and above comes with a text that says why; 503 means that the store behind
 * the server is not there, or that the server has too much to do.
 *
 * @module
 */
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import {
  decodeLeaseValue,
  decodeNodeRecord,
  encodeLeaseValue,
  type Lease,
  type LeaseAttributes,
  type LeaseForm,
  LeaseValueError,
  type NodeRecord,
  type StoredNodeRecord,
} from "../../lease/mod.ts";
import { WireError } from "./protocol.ts";
import type { Change, ConfigText, Cursor, Snapshot } from "../store.ts";

/** Milliseconds after which the server answers a poll although nothing has happened. */
export const HELD_POLL = 45_000;

/** Answer to `GET store/version`. A flannel 0.7.1 answers 404. */
export const VERSION_BODY = '{"version":1}\n';

/** Text of the 404 that means "no such entry", not "no such path". */
export const GONE = "gone\n";

/** A snapshot, with the form of values that the server's store asks for. */
export interface ServedSnapshot extends Snapshot {
  readonly leaseForm: LeaseForm;
}

/** An answer to a poll. */
export type PollAnswer =
  | { readonly changes: readonly Change[]; readonly cursor: Cursor }
  | { readonly reason: string; readonly snapshot: ServedSnapshot };

/** Body of `PUT store/leases/{key}`. */
export interface LeasePut {
  readonly attributes: LeaseAttributes;
  readonly ttl: number;
  /** The revision that it must have; absent when there must be none. */
  readonly revision?: string;
}

/** Body of `PUT store/agents/{ip}`. */
export interface AgentPut {
  readonly record: NodeRecord;
  readonly ttl: number;
  readonly revision?: string;
}

/** Body of `PUT store/config` and, without text, of `DELETE store/config`. */
export interface ConfigPut {
  readonly text?: string;
  /** The text that it must have; absent when there must be none. */
  readonly expected?: string;
}

/** @returns the line of JSON */
export function encodeSnapshot(snapshot: ServedSnapshot): string {
  return line(snapshotJson(snapshot));
}

/** @throws {WireError} when it is none */
export function decodeSnapshot(text: string): ServedSnapshot {
  return snapshotOf(parse(text));
}

/** @returns the line of JSON */
export function encodePoll(answer: PollAnswer): string {
  return line(
    "changes" in answer
      ? { changes: answer.changes.map(changeJson), cursor: answer.cursor }
      : { reason: answer.reason, snapshot: snapshotJson(answer.snapshot) },
  );
}

/** @throws {WireError} when it is none */
export function decodePoll(text: string): PollAnswer {
  const { changes, cursor, reason, snapshot } = objectOf(parse(text));
  return changes === undefined
    ? { reason: textOf("reason", reason), snapshot: snapshotOf(snapshot) }
    : { changes: arrayOf("changes", changes).map(changeOf), cursor: textOf("cursor", cursor) };
}

/** @returns the line of JSON */
export function encodeLease(lease: Lease): string {
  return line(leaseJson(lease));
}

/** @throws {WireError} when it is none */
export function decodeLease(text: string): Lease {
  return leaseOf(parse(text));
}

/** @returns the line of JSON */
export function encodeAgent(agent: StoredNodeRecord): string {
  return line(agentJson(agent));
}

/** @throws {WireError} when it is none */
export function decodeAgent(text: string): StoredNodeRecord {
  return agentOf(parse(text));
}

/** @returns the line of JSON */
export function encodeLeasePut({ attributes, ttl, revision }: LeasePut): string {
  return line({ attributes: attributesJson(attributes), ttl, revision });
}

/** @throws {WireError} when it is none */
export function decodeLeasePut(text: string): LeasePut {
  const { attributes, ttl, revision } = objectOf(parse(text));
  return {
    attributes: attributesOf(attributes),
    ttl: secondsOf(ttl),
    ...(revision === undefined ? {} : { revision: textOf("revision", revision) }),
  };
}

/** @returns the line of JSON */
export function encodeAgentPut(put: AgentPut): string {
  return line({ record: put.record, ttl: put.ttl, revision: put.revision });
}

/** @throws {WireError} when it is none */
export function decodeAgentPut(text: string): AgentPut {
  const { record, ttl, revision } = objectOf(parse(text));
  return {
    record: recordOf(record),
    ttl: secondsOf(ttl),
    ...(revision === undefined ? {} : { revision: textOf("revision", revision) }),
  };
}

/** @returns the line of JSON */
export function encodeConfigPut(put: ConfigPut): string {
  return line({ text: put.text, expected: put.expected });
}

/** @throws {WireError} when it is none */
export function decodeConfigPut(json: string): ConfigPut {
  const { text, expected } = objectOf(parse(json));
  return {
    ...(text === undefined ? {} : { text: textOf("text", text) }),
    ...(expected === undefined ? {} : { expected: textOf("expected", expected) }),
  };
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

function snapshotJson({ config, leases, agents, cursor, leaseForm }: ServedSnapshot): unknown {
  return {
    ...{ config, leases: leases.map(leaseJson), agents: agents.map(agentJson) },
    ...{ cursor, leaseForm },
  };
}

function snapshotOf(value: unknown): ServedSnapshot {
  const { config, leases, agents, cursor, leaseForm } = objectOf(value);
  return {
    config: configOf(config),
    leases: arrayOf("leases", leases).map(leaseOf),
    agents: arrayOf("agents", agents).map(agentOf),
    cursor: textOf("cursor", cursor),
    leaseForm: leaseForm === "v0.20" ? "v0.20" : "v0.7",
  };
}

function changeJson(change: Change): unknown {
  switch (change.type) {
    case "config":
      return change;
    case "lease":
      return { type: change.type, lease: leaseJson(change.lease) };
    case "lease-removed":
      return { type: change.type, subnet: `${change.subnet}` };
    case "agent":
      return { type: change.type, agent: agentJson(change.agent) };
    case "agent-removed":
      return { type: change.type, publicIP: formatIPv4(change.publicIP) };
  }
}

function changeOf(value: unknown): Change {
  const { type, config, lease, subnet, agent, publicIP } = objectOf(value);
  switch (type) {
    case "config":
      return { type, config: configOf(config) };
    case "lease":
      return { type, lease: leaseOf(lease) };
    case "lease-removed":
      return { type, subnet: subnetOf(subnet) };
    case "agent":
      return { type, agent: agentOf(agent) };
    case "agent-removed":
      return { type, publicIP: addressOf(publicIP) };
    default:
      throw new WireError(`change has the unknown type ${JSON.stringify(type)}`);
  }
}

function configOf(value: unknown): ConfigText {
  const { text, missing } = objectOf(value);
  return typeof text === "string" ? { text } : { missing: textOf("missing", missing) };
}

function leaseJson({ subnet, attributes, ttl, revision }: Lease): unknown {
  return { subnet: `${subnet}`, attributes: attributesJson(attributes), ttl, revision };
}

function leaseOf(value: unknown): Lease {
  const { subnet, attributes, ttl, revision } = objectOf(value);
  return {
    subnet: subnetOf(subnet),
    attributes: attributesOf(attributes),
    ...(ttl === undefined ? {} : { ttl: secondsOf(ttl) }),
    revision: textOf("revision", revision),
  };
}

function attributesJson(attributes: LeaseAttributes): unknown {
  return JSON.parse(encodeLeaseValue(attributes, "v0.7"));
}

function attributesOf(value: unknown): LeaseAttributes {
  try {
    return decodeLeaseValue(JSON.stringify(value ?? null));
  } catch (error) {
    if (!(error instanceof LeaseValueError)) throw error;
    throw new WireError(`attributes: the value ${error.message}`, { cause: error });
  }
}

function agentJson({ publicIP, record, revision }: StoredNodeRecord): unknown {
  return { publicIP: formatIPv4(publicIP), record, revision };
}

function agentOf(value: unknown): StoredNodeRecord {
  const { publicIP, record, revision } = objectOf(value);
  return {
    publicIP: addressOf(publicIP),
    record: recordOf(record),
    revision: textOf("revision", revision),
  };
}

function recordOf(value: unknown): NodeRecord {
  const record = decodeNodeRecord(JSON.stringify(value ?? null));
  if (record === undefined) throw new WireError("record is not an agent's record");
  return record;
}

function subnetOf(value: unknown): Prefix {
  const subnet = typeof value === "string" ? Prefix.parse(value) : undefined;
  if (subnet === undefined) throw new WireError(`subnet is ${JSON.stringify(value)}, not a subnet`);
  return subnet;
}

function addressOf(value: unknown): IPv4 {
  const address = typeof value === "string" ? parseIPv4(value) : undefined;
  if (address !== undefined) return address;
  throw new WireError(`publicIP is ${JSON.stringify(value)}, not an IPv4 address`);
}

function secondsOf(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new WireError(`ttl is ${JSON.stringify(value)}, not a number of seconds`);
}

function textOf(name: string, value: unknown): string {
  if (typeof value !== "string") throw new WireError(`${name} is missing or not a string`);
  return value;
}

function arrayOf(name: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new WireError(`${name} is missing or not an array`);
  return value;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new WireError("an object is missing");
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WireError("is not JSON", { cause });
  }
}
