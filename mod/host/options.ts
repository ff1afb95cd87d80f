import type { IPv4 } from "../ip/mod.ts";

/** How to choose the external interface. */
export interface InterfaceOptions {
  /** `-iface`: names or IPv4 addresses, in order of preference. */
  readonly ifaces: readonly string[];
  /** `-iface-regex`: matched against addresses first, then names. */
  readonly regexes: readonly RegExp[];
  /** `-iface-can-reach`: take the interface the kernel would reach this address by. */
  readonly canReach?: IPv4;
  /** `-public-ip`: advertised in place of the interface's address. */
  readonly publicIP?: IPv4;
}
