import type { Step } from "../../../backends/steps.ts";

/** What an address is to this host. */
export type AddressKind =
  /** An address of this host. */
  | "own"
  /** In this host's subnet: a container here. */
  | "own-subnet"
  /** In another host's subnet. */
  | "peer"
  /** In a lease that is refused. */
  | "refused"
  /** In the network, and in nobody's subnet. */
  | "unassigned"
  /** Outside of the network. */
  | "outside";

/** Where a packet goes. */
export interface Explanation {
  readonly address: string;
  readonly kind: AddressKind;
  /** In a sentence. */
  readonly verdict: string;
  /** In the order in which a packet meets them. */
  readonly steps: readonly Step[];
}

/** True when packets get on their way: somebody holds the address, and nothing is wrong. */
export function isComplete({ kind, steps }: Explanation): boolean {
  return kind !== "refused" && kind !== "unassigned" &&
    steps.every(({ wrong }) => wrong === undefined);
}
