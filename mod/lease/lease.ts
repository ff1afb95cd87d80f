import type { IPv4, Prefix } from "../ip/mod.ts";

/** Any JSON value. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Nominal lifetime of a lease, in seconds: flannel's 24 hours. */
export const LEASE_TTL = 24 * 60 * 60;

/** The `ttl` of a lease without expiry, which is an operator's reservation. */
export const PERMANENT = 0;

/** Attributes that a host publishes in its lease: the value under the lease's key. */
export interface LeaseAttributes {
  /** Destination address of encapsulated packets to this host. */
  readonly publicIP: IPv4;
  /** `vxlan`, `host-gw`, ...; absent for udp, alloc and the cloud backends. */
  readonly backendType?: string;
  /** Data for the backend's peers (vxlan: `{"VtepMAC": "..."}`), unchanged. */
  readonly backendData?: JsonValue;
  /** Written by a client of `-listen` that needed no credentials: peers do not accept more packets for it. */
  readonly isUnauthenticated?: true;
}

/** One host's subnet of the network. */
export interface Lease {
  readonly subnet: Prefix;
  readonly attributes: LeaseAttributes;
  /**
   * Remaining seconds at the read or write; {@linkcode PERMANENT} for a lease without expiry; absent when the
   * store does not return it in a listing (etcd v3 returns it only per key).
   */
  readonly ttl?: number;
  /** The store's version of this entry, for compare-and-swap; opaque. */
  readonly revision: string;
}

/** Format of a written lease value; readers accept both. */
export type LeaseForm =
  /** flannel up to 0.17, etcd v2: `{"PublicIP":"1.2.3.4"}` */
  | "v0.7"
  /** flannel from 0.18 on, etcd v3: `{"PublicIP":"1.2.3.4","PublicIPv6":null}` */
  | "v0.20";
