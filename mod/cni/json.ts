import { encodeGoJson } from "../lease/go_json.ts";
import type { JsonValue } from "../lease/lease.ts";

/** A JSON object. */
export type JsonObject = { readonly [key: string]: JsonValue };

/** Returns whether the value is an object, and no list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Encodes as Go encodes a map: members sorted by name, at every depth. */
export function encodeSorted(value: JsonValue): string {
  return encodeGoJson(sorted(value));
}

function sorted(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  const bytes = new TextEncoder();
  const entries = Object.entries(value).map(([key, member]) =>
    [key, sorted(member), bytes.encode(key)] as const
  );
  entries.sort(([, , a], [, , b]) => compareBytes(a, b));
  return Object.fromEntries(entries);
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < a.length && at < b.length; at++) {
    if (a[at] !== b[at]) return a[at]! - b[at]!;
  }
  return a.length - b.length;
}

/** Returns the message of an error. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
