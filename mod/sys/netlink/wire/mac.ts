import type { Mac } from "./types.ts";

const OCTETS = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, "0"));

/** Six octets as text. */
export function formatMac(view: DataView, at: number): Mac {
  return `${OCTETS[view.getUint8(at)]}:${OCTETS[view.getUint8(at + 1)]}:${
    OCTETS[view.getUint8(at + 2)]
  }:${OCTETS[view.getUint8(at + 3)]}:${OCTETS[view.getUint8(at + 4)]}:${
    OCTETS[view.getUint8(at + 5)]
  }`;
}

/** Writes six octets to `bytes[at..]`. @returns false when `mac` is not six hex octets */
export function parseMac(mac: Mac, bytes: Uint8Array, at: number): boolean {
  if (mac.length !== 17) return false;
  for (let i = 0; i < 6; i++) {
    const high = hexDigit(mac.charCodeAt(3 * i));
    const low = hexDigit(mac.charCodeAt(3 * i + 1));
    if (high < 0 || low < 0 || (i < 5 && mac[3 * i + 2] !== ":")) return false;
    bytes[at + i] = high * 16 + low;
  }
  return true;
}

/**
 * A MAC of our own: random, locally administered (bit 1 of the first octet) and not a group address
 * (bit 0), after IEEE 802.
 */
export function randomMac(): Mac {
  const octets = crypto.getRandomValues(new Uint8Array(6));
  octets[0] = (octets[0]! & 0xfc) | 0x02;
  return Array.from(octets, (octet) => OCTETS[octet]).join(":");
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
