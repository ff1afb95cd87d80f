import type { JsonValue } from "../../mod/lease/mod.ts";
import type { Mac } from "../../mod/sys/mod.ts";

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** The last result of {@linkcode vtepMac}, which is called several times in a row for one lease. */
const LAST: { data?: JsonValue | undefined; mac?: Mac | undefined } = {};

/** The peer's VTEP MAC, lower case; `undefined` when missing, malformed, multicast or zero. */
export function vtepMac(data: JsonValue | undefined): Mac | undefined {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return undefined;
  if (data !== LAST.data) {
    LAST.mac = readVtepMac(data as { readonly [key: string]: JsonValue });
    LAST.data = data;
  }
  return LAST.mac;
}

function readVtepMac(data: { readonly [key: string]: JsonValue }): Mac | undefined {
  for (const [key, value] of Object.entries(data)) {
    if (key.toLowerCase() !== "vtepmac" || typeof value !== "string") continue;
    const mac = value.toLowerCase().replaceAll("-", ":");
    // Bit 0 of the first octet marks a group address (IEEE 802): no VTEP has one.
    if (!MAC.test(mac) || (parseInt(mac.slice(0, 2), 16) & 1) === 1) return undefined;
    return mac === "00:00:00:00:00:00" ? undefined : mac;
  }
  return undefined;
}
