import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import type { Attachment } from "../config.ts";

/** Hexadecimal digits that fit behind `veth` into a name of 15 bytes. */
const DIGITS = 11;

/**
 * Returns the name of a veth's end on the host. It follows from the attachment, so that DEL and GC find the device of an
 * ADD that was killed.
 */
export function hostEndOf(network: string, { containerID, ifname }: Attachment): string {
  const text = `${network}\0${containerID}\0${ifname}`;
  return `veth${
    (fnv1a(text) & ((1n << BigInt(4 * DIGITS)) - 1n)).toString(16).padStart(DIGITS, "0")
  }`;
}

/** FNV-1a of 64 bits (RFC 9923). Names need not resist an attacker: a clash is an error of ADD. */
function fnv1a(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}

/**
 * Returns the hardware address that belongs to an address, locally administered (IEEE 802). A container that gets the
 * address of an ended one gets its hardware address too, so no ARP entry is stale.
 */
export function macOf(address: IPv4): string {
  const bytes = formatIPv4(address).split(".").map((byte) => Number(byte).toString(16));
  return ["0a", "58", ...bytes.map((byte) => byte.padStart(2, "0"))].join(":");
}
