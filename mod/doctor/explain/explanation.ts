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

/** One object on a packet's way. */
export interface Step {
  /**
   * `lease`, `route`, `neighbour`, `fdb`, `encapsulation`, `path`, `underlay`,
   * `forwarding`, `firewall`, `masquerade`; and the outcome of probes: `outbound`, `inbound`, `tunnel`, or
   * `trace` when none could be sent.
   */
  readonly object: string;
  /** As it is. */
  readonly text: string;
  /** What is wrong with it; absent when nothing is. */
  readonly wrong?: string;
  /** Commands that put it right, in order. */
  readonly fix?: readonly string[];
}

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
