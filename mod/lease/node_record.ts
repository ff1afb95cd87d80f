import type { IPv4 } from "../ip/mod.ts";

/** What tells one agent from another. */
export interface AgentIdentity {
  /** `/etc/machine-id`; images cloned with theirs share it, hence the two below. */
  readonly machineId: string;
  readonly hostname: string;
  /** `/proc/sys/kernel/random/boot_id`: differs between two clones and between two boots. */
  readonly bootId: string;
  /** Random, new for each process: tells one writer of a record from another. */
  readonly instance: string;
}

/**
 * Who holds a public IP: kept under `<prefix>/agents/<public ip>`, beside the lease and never
 * inside its value, so that flannel's own readers see nothing new. It is what tells the host that
 * came back from another host that was given the same address.
 */
export interface NodeRecord extends AgentIdentity {
  /** Version of the agent. */
  readonly version: string;
  /** Start of the agent, RFC 3339 in UTC. */
  readonly started: string;
  /**
   * What this host's data path takes besides what every host's does, by the backends' names for it, and
   * `masquerade` where no packet with a source outside the network leaves the host for a peer.
   * It says what is in the kernel, which outlives the agent. Absent when there is nothing to say.
   */
  readonly features?: readonly string[];
  /**
   * Present while a newcomer asks whether the holder is alive: whose record the claim replaced. A
   * holder that is alive answers by writing its own record back.
   */
  readonly claims?: AgentIdentity;
  /** Present in a holder's answer: `instance` of the claim that it refuses. */
  readonly refuses?: string;
}

/** A node record as the store holds it. */
export interface StoredNodeRecord {
  readonly publicIP: IPv4;
  readonly record: NodeRecord;
  readonly revision: string;
}

/** Writes a record as JSON. */
export function encodeNodeRecord(record: NodeRecord): string {
  return JSON.stringify(record);
}

/** Longest name of a host, or version, that is told further: a domain name has 253 characters at most. */
const MAX_NAME_LENGTH = 253;

/**
 * Reads a record; unknown members are kept out, and long names are cut.
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
  const { version, started, features, claims, refuses } = value as Record<string, unknown>;
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
 * True when the two agents belong to one boot of one machine: then the earlier agent is known to
 * be gone or replaced, and no claim is needed. Two clones never pass, nor does a machine after a
 * reboot; for those the claim decides.
 */
export function sameBoot(a: AgentIdentity, b: AgentIdentity): boolean {
  return a.machineId === b.machineId && a.hostname === b.hostname && a.bootId === b.bootId;
}
