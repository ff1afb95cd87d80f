import type { Step } from "../../../backends/steps.ts";

/** Holder of an address. */
export type AddressKind =
  /** An address of this host. */
  | "own"
  /** In this host's subnet: a container here. */
  | "own-subnet"
  /** In another host's subnet. */
  | "peer"
  /** In a lease that is refused. */
  | "refused"
  /** In the network, and in no host's subnet. */
  | "unassigned"
  /** Outside of the network. */
  | "outside";

/** The way of a packet. */
export interface Explanation {
  readonly address: string;
  readonly kind: AddressKind;
  /** In a sentence. */
  readonly verdict: string;
  /** In the order in which a packet meets them. */
  readonly steps: readonly Step[];
}

/** Returns whether packets get there and back: a host holds the address, and no step is wrong. */
export function isComplete({ kind, steps }: Explanation): boolean {
  return kind !== "refused" && kind !== "unassigned" &&
    steps.every(({ wrong }) => wrong === undefined);
}
