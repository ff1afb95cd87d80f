import type { Prefix } from "../../../mod/ip/mod.ts";

/** Words at the start of the shared table. */
export const Word = {
  /** Odd during a change of the index by public IP. */
  Version: 0,
  /** This host's lease: first address and netmask. */
  OwnAddress: 1,
  OwnMask: 2,
  /** Bits of {@linkcode Flag}. */
  Flags: 3,
  /** Set to 1 to end the workers. */
  Stop: 4,
  /** Number of words before the tables. */
  Size: 16,
} as const;

/** Bits of `Word.Flags`. */
export const Flag = {
  /** Accept datagrams from any address, with any inner source. */
  AcceptAny: 1,
  /** Drop inner sources outside the network. */
  StrictSource: 2,
} as const;

/**
 * `Word.OwnAddress` without a lease. No address masked to 31 bits or fewer equals it.
 */
export const NO_LEASE = 0xffffffff;

/** Value of a coarse slot whose addresses have their own fine slots, because several leases are in it. */
export const FINE = 0x80000000;

/** Bits of the largest fine table: 32 MB of address space, of which only used pages take memory. */
const FINE_BITS = 23;
/** Bits of the largest coarse table; more are a mistake in the network config. */
const COARSE_BITS = 24;
/** Longest prefix of a lease key. */
const MAX_LEASE_LENGTH = 31;
const MAX_PEERS = 1 << 20;
/** Room for peers with longer subnets, and for peers that left but are still in the table. */
const SPARE_PEERS = 1024;

/**
 * Offsets in the shared memory of a peer table, in 32-bit words. Plain numbers, so that it can be sent to workers.
 *
 * - `coarse`: a slot for each subnet of the configured length: the peer's index, 0 for none, or {@linkcode FINE};
 * - `fine`: a slot for each address, or for several, used only below a FINE slot;
 * - `address`: public IP by peer index; index 0 is no peer;
 * - `next` and `bucket`: a hash index from public IP to peer, with chains.
 */
export interface TableLayout {
  /** First address of the network, and its netmask. */
  readonly network: number;
  readonly mask: number;
  /** Number of bits by which an offset in the network is shifted right to get a slot. */
  readonly coarseShift: number;
  readonly fineShift: number;
  /** Longest prefix of a lease that the table can route. */
  readonly longest: number;
  /** Highest peer index; the lowest is 1. */
  readonly capacity: number;
  /** Number of bits by which a 32-bit hash is shifted right to get a bucket. */
  readonly bucketShift: number;
  readonly coarse: number;
  readonly fine: number;
  readonly address: number;
  readonly next: number;
  readonly bucket: number;
  /** Total number of words. */
  readonly size: number;
}

/**
 * Lays out the table of a network.
 *
 * @param subnetLen prefix length of (almost) all leases
 * @throws {RangeError} when the network has no such subnets, or more than 2^24 of them
 */
export function tableLayout(network: Prefix, subnetLen: number): TableLayout {
  const coarseBits = subnetLen - network.length;
  if (coarseBits < 0 || coarseBits > COARSE_BITS || subnetLen > MAX_LEASE_LENGTH) {
    throw new RangeError(
      `SubnetLen ${subnetLen} is not within ${network.length} and ` +
        `${Math.min(MAX_LEASE_LENGTH, network.length + COARSE_BITS)}, as Network ${network} needs`,
    );
  }
  const longest = Math.max(subnetLen, Math.min(MAX_LEASE_LENGTH, network.length + FINE_BITS));
  const capacity = Math.min(MAX_PEERS, 2 ** coarseBits) + SPARE_PEERS;
  const bucketBits = Math.ceil(Math.log2(capacity));
  const coarse = Word.Size;
  const fine = coarse + 2 ** coarseBits;
  const address = fine + 2 ** (longest - network.length);
  const next = address + capacity + 1;
  const bucket = next + capacity + 1;
  return {
    network: network.address,
    mask: network.mask,
    coarseShift: 32 - subnetLen,
    fineShift: 32 - longest,
    longest,
    capacity,
    bucketShift: 32 - bucketBits,
    coarse,
    fine,
    address,
    next,
    bucket,
    size: bucket + 2 ** bucketBits,
  };
}

/** Offset of the bucket of `address` (Knuth's multiplicative hash). */
export function bucketOf(layout: TableLayout, address: number): number {
  return layout.bucket + (Math.imul(address, 0x9e3779b1) >>> layout.bucketShift);
}
