import type { SourcesChange } from "./peer_sources.ts";

/**
 * What a set of rules is to hold of ours: all that was asked for, nothing, or the acceptance of
 * forwarded packets alone and only where the set may drop them.
 *
 * Packets pass every set there is. One set masquerades; but a packet that one of them drops is gone,
 * whatever the others say, so that acceptance has to be where the drop is.
 */
export type Role = "all" | "acceptance" | "nothing";

/**
 * What {@linkcode Ruleset.reconcile} did; `made` when nothing of ours was there before, `extended` when all that
 * was wanted before was in place.
 */
export type Reconciled = "unchanged" | "changed" | "made" | "extended";

/** One rule or chain that goes or comes. */
export interface RuleChange {
  readonly sign: "-" | "+";
  /** `-t filter -A FLANNEL-FWD -s 10.20.0.0/16 -j ACCEPT`, or `nft`'s words for it. */
  readonly rule: string;
}

/** The line of {@linkcode Ruleset.refused} where what Docker drops cannot be accepted. */
export function dockerRefusal(why: string): string {
  return `Docker drops packets from other hosts to containers, and cannot be kept from it: ${why}; ` +
    "see to that and restart flanneld, or run with -docker-rules=off";
}

/** One of the kernel's sets of rules (iptables knows two, nftables is one), and its tool. */
export interface Ruleset {
  /** Tool and version. */
  readonly description: string;
  /** Its rules refer to the peers' IP set, as far as the last call has seen. */
  readonly usesPeerSet?: boolean;
  /** True when the kernel does without the rules of `FirewallSpec.guard`. */
  readonly isGuardRefused?: boolean;
  /** Carries a change of the peers to sets of its own; see `Firewall.changePeers`. */
  changePeers?(change: SourcesChange): void;
  /** The part of the request that cannot be had here, why, and the action to take: one line. */
  readonly refused?: string | undefined;

  /**
   * What {@linkcode reconcile} would change.
   *
   * @throws {FirewallError} when the rules cannot be read
   */
  check(role: Role): Promise<readonly RuleChange[]>;

  /**
   * Brings our part of the set to what the role asks for; all of it, or when it fails, what was
   * there.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  reconcile(role: Role): Promise<Reconciled>;
}
