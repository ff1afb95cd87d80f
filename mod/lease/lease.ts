import type { IPv4, Prefix } from "../ip/mod.ts";

/** Any value JSON can hold. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Nominal lifetime of a lease, in seconds: flannel's 24 hours. */
export const LEASE_TTL = 24 * 60 * 60;

/** The `ttl` of a lease without expiry: a reservation an operator made. */
export const PERMANENT = 0;

/** What a host publishes about itself in its lease: the value stored under the lease's key. */
export interface LeaseAttributes {
  /** Address other hosts send encapsulated packets to. */
  readonly publicIP: IPv4;
  /** `vxlan`, `host-gw`, ...; absent for udp, alloc and the cloud backends. */
  readonly backendType?: string;
  /** What the backend's peers need (vxlan: `{"VtepMAC": "..."}`), untouched as found. */
  readonly backendData?: JsonValue;
}

/** One host's subnet of the network. */
export interface Lease {
  readonly subnet: Prefix;
  readonly attributes: LeaseAttributes;
  /**
   * Whole seconds left when the lease was read or written; {@linkcode PERMANENT} for one without
   * expiry; absent where the store does not tell it with a listing (etcd v3 says it only per key).
   */
  readonly ttl?: number;
  /** The store's version of this entry, for compare-and-swap; opaque. */
  readonly revision: string;
}

/** Which of the two texts a lease value is written in; readers take both. */
export type LeaseForm =
  /** flannel up to 0.17, etcd v2: `{"PublicIP":"1.2.3.4"}` */
  | "v0.7"
  /** flannel from 0.18 on, etcd v3: `{"PublicIP":"1.2.3.4","PublicIPv6":null}` */
  | "v0.20";
