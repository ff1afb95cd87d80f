import type { IPv4 } from "../ip/mod.ts";

/** Identity of an agent. */
export interface AgentIdentity {
  /** `/etc/machine-id`; not unique, since clones of an image share it. */
  readonly machineId: string;
  readonly hostname: string;
  /** `/proc/sys/kernel/random/boot_id`: differs between two clones and between two boots. */
  readonly bootId: string;
  /** Random per process; identifies the writer of a record. */
  readonly instance: string;
}

/**
 * The node record: the holder of a public IP, stored under `<prefix>/agents/<public ip>`. It is separate from the
 * lease value, which upstream flannel reads. It distinguishes a host that came back from another host with the
 * same address.
 */
export interface NodeRecord extends AgentIdentity {
  /** Version of the agent. */
  readonly version: string;
  /** Start of the agent, RFC 3339 in UTC. */
  readonly started: string;
  /**
   * Optional capabilities of this host's data path, by the backends' names, and `masquerade` when the host sends
   * peers no packet with a source outside the network. Describes the kernel's state, which outlives the agent.
   * Absent when there are none.
   */
  readonly features?: readonly string[];
  /**
   * The former holder, whose record this claim has replaced. Present while a newcomer checks whether the holder
   * is alive; a live holder answers by writing its own record again.
   */
  readonly claims?: AgentIdentity;
  /** `instance` of the claim that the holder refuses. Present in the holder's answer. */
  readonly refuses?: string;
  /** Written by a client of `-listen` that needed no credentials. */
  readonly isUnauthenticated?: true;
}

/** A node record in the store. */
export interface StoredNodeRecord {
  readonly publicIP: IPv4;
  readonly record: NodeRecord;
  readonly revision: string;
}

/** Encodes a record as JSON. */
export function encodeNodeRecord(record: NodeRecord): string {
  return JSON.stringify(record);
}

/** Longest hostname or version to keep, in UTF-16 code units: a domain name has at most 253 characters. */
const MAX_NAME_LENGTH = 253;

/**
 * Decodes a record. Drops unknown members and cuts long names.
 *
 * @returns `undefined` when the text is not a record
 */
export function decodeNodeRecord(text: string): NodeRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { version, started, features, claims, refuses, isUnauthenticated } = value as Record<
    string,
    unknown
  >;
  const identity = decodeIdentity(value);
  if (identity === undefined || typeof version !== "string" || typeof started !== "string") {
    return undefined;
  }
  const claimed = decodeIdentity(claims);
  return {
    ...identity,
    version: cut(version),
    started: cut(started),
    ...(isTextArray(features) && features.length > 0 ? { features } : {}),
    ...(claimed === undefined ? {} : { claims: claimed }),
    ...(typeof refuses === "string" ? { refuses } : {}),
    ...(isUnauthenticated === true ? { isUnauthenticated } : {}),
  };
}

function cut(text: string): string {
  return text.slice(0, MAX_NAME_LENGTH);
}

function isTextArray(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((member) => typeof member === "string");
}

function decodeIdentity(value: unknown): AgentIdentity | undefined {
  const { machineId, hostname, bootId, instance } = (value ?? {}) as Record<string, unknown>;
  return typeof machineId === "string" && typeof hostname === "string" &&
      typeof bootId === "string" && typeof instance === "string"
    ? { machineId, hostname: cut(hostname), bootId, instance }
    : undefined;
}

/**
 * Returns whether two agents belong to one boot of one machine, so that the later one may replace the record
 * without a claim. Clones and a rebooted machine need a claim.
 */
export function sameBoot(a: AgentIdentity, b: AgentIdentity): boolean {
  return a.machineId === b.machineId && a.hostname === b.hostname && a.bootId === b.bootId;
}
