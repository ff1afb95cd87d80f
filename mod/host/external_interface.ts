import type { IPv4 } from "../ip/mod.ts";

/** The interface that carries the encapsulated packets, and the address peers send to. */
export interface ExternalInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** Local address: source of what we send. */
  readonly address: IPv4;
  /** Advertised in the lease: {@linkcode address} unless `-public-ip` says otherwise. */
  readonly publicIP: IPv4;
}
