import type { IPv4 } from "../ip/mod.ts";

/** The interface that carries the encapsulated packets, and the address peers send to. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** Local address, the source of encapsulated packets. */
  readonly address: IPv4;
  /** Advertised in the lease: `-public-ip`, or else {@linkcode address}. */
  readonly publicIP: IPv4;
}
