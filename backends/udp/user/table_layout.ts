import type { Prefix } from "../../../mod/ip/mod.ts";

/** Words at the start of the shared table. */
export const Word = {
  /** Odd while the index by public IP is being changed. */
  Version: 0,
  /** Our own lease: first address and netmask. */
  OwnAddress: 1,
  OwnMask: 2,
  /** Bits of {@linkcode Flag}. */
  Flags: 3,
  /** Set to 1 to end the workers. */
  Stop: 4,
  /** What came before the tables. */
  Size: 16,
} as const;

/** Bits of `Word.Flags`. */
export const Flag = {
  /** Take datagrams from any address, with any inner source. */
  AcceptAny: 1,
  /** Refuse inner sources outside the network. */
  StrictSource: 2,
} as const;

/**
 * `Word.OwnAddress` without a lease. No address masked to 31 bits or fewer equals it.
 */
export const NO_LEASE = 0xffffffff;

/** In a slot of the coarse table: several leases share the subnet, ask the fine one. */
export const FINE = 0x80000000;

/** The fine table has at most 2^23 slots: 32 MB of address space, of which only used pages exist. */
const FINE_BITS = 23;
/** More slots than this in the coarse table are a mistake in the network config. */
const COARSE_BITS = 24;
/** Lease keys hold lengths up to 31. */
const LONGEST_LEASE = 31;
const MOST_PEERS = 1 << 20;
/** Peers of other subnet lengths, and ones that are gone but not yet forgotten. */
const SPARE_PEERS = 1024;

/**
 * Where things lie in the shared memory of a peer table, in 32-bit words. Plain numbers, so that it
 * travels to the workers with the memory.
 *
 * - `coarse`: one slot per subnet of the configured length, the index of the peer or 0 or
 *   {@linkcode FINE};
 * - `fine`: slots per address or pair, used only below a FINE slot;
 * - `address`: public IP by peer index; index 0 is nobody;
 * - `next` and `bucket`: a hash index from public IP to peer, chained.
 */
export interface TableLayout {
  /** First address of the network, and its netmask. */
  readonly network: number;
  readonly mask: number;
  /** An offset in the network shifted right by this is a slot. */
  readonly coarseShift: number;
  readonly fineShift: number;
  /** Leases longer than this cannot be told apart. */
  readonly longest: number;
  /** Peer indices are 1 to capacity. */
  readonly capacity: number;
  /** A 32-bit hash shifted right by this is a bucket. */
  readonly bucketShift: number;
  readonly coarse: number;
  readonly fine: number;
  readonly address: number;
  readonly next: number;
  readonly bucket: number;
  /** Words in all. */
  readonly size: number;
}

/**
 * Lays out the table of a network.
 *
 * @param subnetLen prefix length that (almost) all leases have
 * @throws {RangeError} when the network has no such subnets, or more than 2^24 of them
 */
export function tableLayout(network: Prefix, subnetLen: number): TableLayout {
  const coarseBits = subnetLen - network.length;
  if (coarseBits < 0 || coarseBits > COARSE_BITS || subnetLen > LONGEST_LEASE) {
    throw new RangeError(
      `SubnetLen ${subnetLen} is not within ${network.length} and ` +
        `${Math.min(LONGEST_LEASE, network.length + COARSE_BITS)}, as Network ${network} needs`,
    );
  }
  const longest = Math.max(subnetLen, Math.min(LONGEST_LEASE, network.length + FINE_BITS));
  const capacity = Math.min(MOST_PEERS, 2 ** coarseBits) + SPARE_PEERS;
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

/** Word of the bucket that `address` hashes to (Knuth's multiplicative hash). */
export function bucketOf(layout: TableLayout, address: number): number {
  return layout.bucket + (Math.imul(address, 0x9e3779b1) >>> layout.bucketShift);
}
