import type { SourcesChange } from "./peer_sources.ts";

/**
 * Rules of flanneld in one rule set: all desired rules, none, or only the acceptance of forwarded packets if the set may
 * drop them.
 *
 * Packets pass every rule set. One set masquerades, but a drop in any set is final, so that each set with drops needs
 * the acceptance.
 */
export type Role = "all" | "acceptance" | "nothing";

/**
 * Result of {@linkcode Ruleset.reconcile}: `made` when the set had no rules of flanneld, `extended` when all formerly
 * desired rules were in place.
 */
export type Reconciled = "unchanged" | "changed" | "made" | "extended";

/** A removed or added rule or chain. */
export interface RuleChange {
  readonly sign: "-" | "+";
  /** `-t filter -A FLANNEL-FWD -s 10.20.0.0/16 -j ACCEPT`, or the same in the syntax of nft(8). */
  readonly rule: string;
}

/** Returns the line of {@linkcode Ruleset.refused} when the rules against Docker's drops cannot be made. */
export function dockerRefusal(why: string): string {
  return `Docker drops packets from other hosts to containers, and flanneld cannot accept them: ${why}; ` +
    "fix that and restart flanneld, or run with -docker-rules=off";
}

/** One of the kernel's rule sets (two of iptables, one of nftables) and its tool. */
export interface Ruleset {
  /** Tool and version. */
  readonly description: string;
  /** Whether its rules referred to the peers' IP set at the last call. */
  readonly usesPeerSet?: boolean;
  /** True when the kernel refused the rules of `FirewallSpec.guard`. */
  readonly isGuardRefused?: boolean;
  /** Applies a change of the peers to the rule set's own sets; see `Firewall.changePeers`. */
  changePeers?(change: SourcesChange): void;
  /** One line with the rules that cannot be made, the reason and the action to take. */
  readonly refused?: string | undefined;

  /**
   * Returns the changes that {@linkcode reconcile} would make.
   *
   * @throws {FirewallError} when the rules cannot be read
   */
  check(role: Role): Promise<readonly RuleChange[]>;

  /**
   * Reconciles flanneld's rules in this set with a role. On failure the former rules stay.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  reconcile(role: Role): Promise<Reconciled>;
}
