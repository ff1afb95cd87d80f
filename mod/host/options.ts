import type { IPv4 } from "../ip/mod.ts";

/** Options for the choice of the external interface. */
export interface InterfaceOptions {
  /** `-iface`: names or IPv4 addresses, in order of preference. */
  readonly ifaces: readonly string[];
  /** `-iface-regex`: matched against addresses first, then names. */
  readonly regexes: readonly RegExp[];
  /** `-iface-can-reach`: the interface of the kernel's route to this address. */
  readonly canReach?: IPv4;
  /** `-public-ip`: advertised instead of the interface's address. */
  readonly publicIP?: IPv4;
}
