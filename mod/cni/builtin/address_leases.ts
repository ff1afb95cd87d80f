import {
  containerRange,
  formatIPv4,
  freeAddress,
  type IPv4,
  parseIPv4,
  type Prefix,
} from "../../ip/mod.ts";
import type { Attachment } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject } from "../json.ts";

/** An address that a container's interface has. */
export interface AddressLease extends Attachment {
  readonly address: IPv4;
  /** Name of the veth's end on the host. */
  readonly hostEnd: string;
}

/** The leases of a network on this host. */
export interface AddressLeases {
  readonly leases: readonly AddressLease[];
  /** The address that was leased last; the search for the next one begins after it. */
  readonly last?: IPv4;
}

/** No leases. */
export const NO_LEASES: AddressLeases = { leases: [] };

/** Returns the lease of an attachment. */
export function findLease(
  { leases }: AddressLeases,
  { containerID, ifname }: Attachment,
): AddressLease | undefined {
  return leases.find((lease) => lease.containerID === containerID && lease.ifname === ifname);
}

/**
 * Leases an address.
 *
 * @param chosen by the operator, the next free one otherwise, see {@linkcode freeAddress}
 * @returns `undefined` when the subnet has none
 * @throws {CniError} 7 or 101 when a container cannot have the chosen address
 */
export function leaseAddress(
  { leases, last }: AddressLeases,
  subnet: Prefix,
  attachment: Attachment & Pick<AddressLease, "hostEnd">,
  chosen?: IPv4,
): { readonly leases: AddressLeases; readonly lease: AddressLease } | undefined {
  const taken = new Set(leases.map(({ address }) => address));
  if (chosen !== undefined) requireFree(subnet, chosen, taken);
  const address = chosen ?? freeAddress(subnet, last, (one) => taken.has(one));
  if (address === undefined) return undefined;
  const lease = { ...attachment, address };
  return { leases: { leases: [...leases, lease], last: address }, lease };
}

function requireFree(subnet: Prefix, address: IPv4, taken: ReadonlySet<IPv4>): void {
  const { first, last } = containerRange(subnet);
  if (address < first || address > last) {
    throw new CniError(
      Code.INVALID_CONFIG,
      `${formatIPv4(address)} is no container's address of this host's lease ${subnet}`,
      `expected ${formatIPv4(first)} to ${formatIPv4(last)}`,
    );
  }
  if (taken.has(address)) throw new CniError(Code.NO_ADDRESS, `${formatIPv4(address)} is in use`);
}

/** Returns the leases without one. */
export function withoutLease(all: AddressLeases, lease: AddressLease): AddressLeases {
  return { ...all, leases: all.leases.filter((other) => other !== lease) };
}

/** Returns the leases that GC ends. */
export function staleLeases(
  { leases }: AddressLeases,
  valid: readonly Attachment[],
): readonly AddressLease[] {
  const key = ({ containerID, ifname }: Attachment) => `${containerID}/${ifname}`;
  const keys = new Set(valid.map(key));
  return leases.filter((lease) => !keys.has(key(lease)));
}

/** Encodes the file of a network. */
export function encodeLeases({ leases, last }: AddressLeases): string {
  return JSON.stringify({
    version: 1,
    ...last === undefined ? {} : { last: formatIPv4(last) },
    leases: leases.map(({ address, ...rest }) => ({ address: formatIPv4(address), ...rest })),
  });
}

/**
 * Decodes the file of a network.
 *
 * @param path for errors
 * @throws {CniError} 5 when it is damaged
 */
export function decodeLeases(path: string, text: string): AddressLeases {
  try {
    const value = JSON.parse(text);
    if (isObject(value) && value.version === 1 && Array.isArray(value.leases)) {
      const last = value.last === undefined ? undefined : address(value.last);
      return { leases: value.leases.map(decodeLease), ...last === undefined ? {} : { last } };
    }
  } catch {
    // Reported below.
  }
  throw new CniError(
    Code.IO_FAILURE,
    `${path} is damaged`,
    "stop the containers of this network, remove the file, and start them again",
  );
}

function decodeLease(value: JsonObject): AddressLease {
  const { containerID, ifname, hostEnd } = value;
  if (
    typeof containerID !== "string" || typeof ifname !== "string" || typeof hostEnd !== "string"
  ) {
    throw new TypeError("no lease");
  }
  return { containerID, ifname, hostEnd, address: address(value.address) };
}

function address(value: unknown): IPv4 {
  const found = typeof value === "string" ? parseIPv4(value) : undefined;
  if (found === undefined) throw new TypeError("no address");
  return found;
}
