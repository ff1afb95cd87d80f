import { formatIPv4, parseIPv4 } from "../ip/mod.ts";
import { encodeGoJson, parseGoJson } from "./go_json.ts";
import type { JsonValue, LeaseAttributes, LeaseForm } from "./lease.ts";
import { truncate } from "../text/mod.ts";

/**
 * Longest value to read, in UTF-16 code units; flannel's have about 150. A longer value could nest so deep that
 * recursive readers overflow the stack.
 */
const MAX_LENGTH = 8192;

/**
 * Encodes a lease value byte for byte like flannel of the given form: keys in the order PublicIP, PublicIPv6,
 * BackendType, BackendData, the last two omitted when absent, no spaces, and Go's escapes. flannel ignores the
 * further key Unauthenticated.
 */
export function encodeLeaseValue(attributes: LeaseAttributes, form: LeaseForm): string {
  const value: Record<string, JsonValue> = { PublicIP: formatIPv4(attributes.publicIP) };
  if (form === "v0.20") value.PublicIPv6 = null;
  if (attributes.backendType !== undefined) value.BackendType = attributes.backendType;
  if (attributes.backendData !== undefined) value.BackendData = attributes.backendData;
  if (attributes.isUnauthenticated) value.Unauthenticated = true;
  return encodeGoJson(value);
}

/**
 * Decodes a lease value of either form. Ignores the case of keys and unknown keys, like Go's decoder.
 *
 * @throws {LeaseValueError} when the text is not JSON, not an object, lacks a usable PublicIP, or is longer than
 * 8 KiB before or after decoding and encoding
 */
export function decodeLeaseValue(text: string): LeaseAttributes {
  refuseLong(text);
  let value: unknown;
  try {
    value = parseGoJson(text);
  } catch (error) {
    throw new LeaseValueError(
      error instanceof RangeError ? "holds a number that is out of range" : "is not JSON",
    );
  }
  // Encoding can lengthen a value (1e20 has 21 digits), and clients of a server would refuse the whole answer.
  refuseLong(JSON.stringify(value));
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new LeaseValueError("is not a JSON object");
  }
  let publicIP: unknown, backendType: unknown, backendData: JsonValue | undefined;
  let isUnauthenticated = false;
  for (const [key, member] of Object.entries(value)) {
    switch (key.toLowerCase()) {
      case "publicip":
        publicIP = member;
        break;
      case "backendtype":
        backendType = member;
        break;
      case "backenddata":
        backendData = member ?? undefined;
        break;
      case "unauthenticated":
        isUnauthenticated = true;
        break;
    }
  }
  const address = typeof publicIP === "string" ? parseIPv4(publicIP) : undefined;
  if (address === undefined) {
    throw new LeaseValueError(`has PublicIP ${quote(publicIP)}, not an IPv4 address`);
  }
  if (backendType !== undefined && backendType !== null && typeof backendType !== "string") {
    throw new LeaseValueError(`has BackendType ${quote(backendType)}, not a string`);
  }
  return {
    publicIP: address,
    ...(backendType ? { backendType } : {}),
    ...(backendData !== undefined ? { backendData } : {}),
    ...(isUnauthenticated ? { isUnauthenticated } : {}),
  };
}

function refuseLong({ length }: string): void {
  if (length <= MAX_LENGTH) return;
  throw new LeaseValueError(`is ${length} characters long, more than ${MAX_LENGTH}`);
}

/** Formats a value as JSON, shortened for one line. */
function quote(value: unknown): string {
  const text = String(JSON.stringify(value));
  return truncate(text, 80);
}

/** Returns whether a host has published the same in two values, regardless of form, order of keys and writer. */
export function sameAttributes(a: LeaseAttributes, b: LeaseAttributes): boolean {
  return a.publicIP === b.publicIP && a.backendType === b.backendType &&
    sameJson(a.backendData, b.backendData);
}

function sameJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a, b] as Record<string, JsonValue>[];
  const keys = Object.keys(left!);
  if (keys.length !== Object.keys(right!).length) return false;
  // One stack frame per level: `every` would need three.
  for (const key of keys) if (!sameJson(left![key], right![key])) return false;
  return true;
}

/** A lease value that cannot be read. The message completes "the value of KEY ...". */
export class LeaseValueError extends Error {
  override readonly name = "LeaseValueError";
}
