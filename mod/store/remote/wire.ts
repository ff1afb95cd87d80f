/**
 * The messages below `/v1/{network}/store`, by which `-listen` serves calls of a `Kv` to `-remote`:
 *
 *     GET    store/version      the version of these messages
 *     GET    store              a listing
 *     GET    store?next=C       a long poll: what has happened since, or a listing
 *     GET    store/KEY[?ttl=1]  an entry, with its lifetime on request
 *     PUT    store/KEY          writes an entry
 *     DELETE store/KEY?revision=R
 *
 * Keys are relative to the network: `config`, `subnets/10.20.1.0-24`, `agents/192.0.2.1`. `GET /v1/networks[?next=C]`
 * lists and polls the names of all networks, as entries `NAME/config` without a value.
 *
 * @module
 */
import type { LeaseForm } from "../../lease/mod.ts";
import type { Cursor, Expect, KvChange, KvEntry } from "../kv/kv.ts";
import { WireError } from "./wire_error.ts";

/** Milliseconds after which the server answers a poll without changes. */
export const HELD_POLL_MS = 45_000;

/** Version of the messages. */
const VERSION = 3;

/** Path of the names of all networks. */
export const NAMES_PATH = "/v1/networks";

/** Answer to `GET store/version`. */
export const VERSION_BODY = `{"version":${VERSION}}\n`;

/** Text of the 404 for a missing entry; another text is that of a missing path. */
export const GONE = "gone\n";

/** A listing on the wire. */
export interface WireListing {
  readonly entries: readonly KvEntry[];
  readonly cursor: Cursor;
  /** The store's message for a missing config. */
  readonly missing: string;
  /** The form of lease values in the server's store. */
  readonly leaseForm: LeaseForm;
}

/** An answer to a poll. */
export type PollAnswer =
  | { readonly changes: readonly KvChange[]; readonly cursor: Cursor }
  | { readonly reason: string; readonly listing: WireListing };

/** Body of a PUT. */
export interface WirePut {
  readonly value: string;
  /** Lifetime in seconds, or `PERMANENT`. */
  readonly ttl: number;
  readonly expect: Expect;
}

/** Checks an answer to `GET store/version`. @throws {WireError} when the version is another one */
export function requireVersion(text: string): void {
  const { version } = objectOf(parse(text));
  if (version === VERSION) return;
  throw new WireError(
    `version is ${JSON.stringify(version)}, not ${VERSION}: run the same flanneld on both hosts`,
  );
}

/** @returns a line of JSON */
export function encodeListing(listing: WireListing): string {
  return line(listingJson(listing));
}

/** @throws {WireError} when it is none */
export function decodeListing(text: string): WireListing {
  return listingOf(parse(text));
}

/** @returns a line of JSON */
export function encodePoll(answer: PollAnswer): string {
  return line(
    "changes" in answer
      ? { changes: answer.changes.map(changeJson), cursor: answer.cursor }
      : { reason: answer.reason, listing: listingJson(answer.listing) },
  );
}

/** @throws {WireError} when it is none */
export function decodePoll(text: string): PollAnswer {
  const { changes, cursor, reason, listing } = objectOf(parse(text));
  return changes === undefined
    ? { reason: textOf("reason", reason), listing: listingOf(listing) }
    : { changes: arrayOf("changes", changes).map(changeOf), cursor: textOf("cursor", cursor) };
}

/** @returns a line of JSON */
export function encodeEntry(entry: KvEntry): string {
  return line(entryJson(entry));
}

/** @throws {WireError} when it is none */
export function decodeEntry(text: string): KvEntry {
  return entryOf(parse(text));
}

/** @returns a line of JSON */
export function encodePut({ value, ttl, expect }: WirePut): string {
  return line({ value, ttl, expect });
}

/** @throws {WireError} when it is none */
export function decodePut(text: string): WirePut {
  const { value, ttl, expect } = objectOf(parse(text));
  return { value: textOf("value", value), ttl: secondsOf(ttl), expect: expectOf(expect) };
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

function listingJson({ entries, ...rest }: WireListing): unknown {
  return { entries: entries.map(entryJson), ...rest };
}

function listingOf(value: unknown): WireListing {
  const { entries, cursor, missing, leaseForm } = objectOf(value);
  return {
    entries: arrayOf("entries", entries).map(entryOf),
    cursor: textOf("cursor", cursor),
    missing: textOf("missing", missing),
    leaseForm: leaseForm === "v0.20" ? "v0.20" : "v0.7",
  };
}

function changeJson(change: KvChange): unknown {
  return change.type === "put"
    ? entryJson(change.entry)
    : { key: change.key, missing: change.missing };
}

function changeOf(value: unknown): KvChange {
  const { key, missing } = objectOf(value);
  return missing === undefined
    ? { type: "put", entry: entryOf(value) }
    : { type: "delete", key: textOf("key", key), missing: textOf("missing", missing) };
}

function entryJson({ key, value, revision, ttl }: KvEntry): unknown {
  return { key, value, revision, ttl };
}

function entryOf(value: unknown): KvEntry {
  const entry = objectOf(value);
  return {
    key: textOf("key", entry.key),
    value: textOf("value", entry.value),
    revision: textOf("revision", entry.revision),
    ...(entry.ttl === undefined ? {} : { ttl: secondsOf(entry.ttl) }),
  };
}

function expectOf(value: unknown): Expect {
  if (value === "absent" || value === "any") return value;
  return { revision: textOf("revision", objectOf(value).revision) };
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
