import { FirewallError } from "../errors.ts";
import type { Iptables } from "./iptables.ts";
import {
  type DesiredChains,
  hasOwnRules,
  mayDropForwarded,
  NOTHING,
  type Plan,
  planRestore,
} from "../plan.ts";
import type { PeerSet } from "../peer_set.ts";
import { desiredRules, hasDockerChains, INPUT_CHAIN, ownChains, RAW_CHAIN } from "../rules.ts";
import { dockerRefusal, type Reconciled, type Role, type Ruleset } from "../ruleset.ts";
import type { SavedRules } from "./save_format.ts";
import type { FirewallSpec, PreviousNetwork } from "../firewall_spec.ts";
import type { RuleChange } from "../ruleset.ts";
import { applyUntilInPlace } from "../apply_until_in_place.ts";

/** Rounds of reading, planning and applying: the rules may be asked for without raw, then without Docker's. */
const ATTEMPTS = 7;

/** Exit status of iptables when the kernel was busy or the lock taken: the same may work now. */
const RESOURCE_PROBLEM = 4;

/**
 * Our rules in one of iptables' two sets.
 *
 * Cost of a {@linkcode reconcile} that finds all in place: one process, iptables-save. That is 2.4 ms
 * with some twenty rules of others on the host, whom it grows with: 20,000 rules make it 250 ms in
 * the nft set and 40 ms in the legacy one. When something is amiss, one iptables-restore and
 * one more iptables-save, to see that it has helped, come to it.
 */
export class IptablesRuleset implements Ruleset {
  readonly #iptables: Iptables;
  readonly #spec: FirewallSpec;
  readonly #networks: readonly PreviousNetwork[];
  readonly #peers: PeerSet;
  /** The chains that were wanted, and in place, when last reconciled: rules by name. */
  #wanted: ReadonlyMap<string, string> | undefined;
  #usesPeerSet = false;
  /** Why neither chain is made for Docker's drops, or none in raw. */
  #refused: string | undefined;
  #rawRefused: string | undefined;
  #hasRaw = false;
  #hasDocker = false;

  /**
   * @param networks this host's networks, which identify rules of older flannels
   * @param peers sources of unencapsulated packets
   */
  constructor(
    iptables: Iptables,
    spec: FirewallSpec,
    networks: readonly PreviousNetwork[],
    peers: PeerSet,
  ) {
    this.#iptables = iptables;
    this.#spec = spec;
    this.#networks = networks;
    this.#peers = peers;
  }

  get description(): string {
    return this.#iptables.description;
  }

  get usesPeerSet(): boolean {
    return this.#usesPeerSet;
  }

  get isGuardRefused(): boolean {
    return this.#rawRefused !== undefined;
  }

  get refused(): string | undefined {
    // Without a table raw Docker drops nothing there.
    const why = this.#refused ?? (this.#hasRaw ? this.#rawRefused : undefined);
    if (why !== undefined && this.#hasDocker) return dockerRefusal(why);
    if (!this.isGuardRefused || this.#spec.guard === undefined) return undefined;
    return "forged packets of containers and peers cannot be dropped, as the rules in table raw are refused: " +
      `${this.#rawRefused}; fix that and restart flanneld`;
  }

  async check(role: Role): Promise<readonly RuleChange[]> {
    const saved = await this.#iptables.save();
    this.#usesPeerSet = role !== "nothing" && this.#ingress(saved)?.underlay !== undefined;
    const plan = this.#plan(saved, this.#desired(role, saved));
    return (plan?.changes ?? []).map(({ sign, rule }) => ({
      sign,
      rule: `${this.#iptables.name} ${rule}`,
    }));
  }

  /**
   * Does without the rules in raw and for Docker's chains, where they alone are refused: the others have always done
   * without a table raw and without IP sets.
   */
  async reconcile(role: Role): Promise<Reconciled> {
    let result: Reconciled | undefined;
    let desired = NOTHING;
    let isPeerSetRepaired = false;
    const refused = { all: this.#refused, raw: this.#rawRefused };
    try {
      await applyUntilInPlace<Plan>({
        plan: async () => {
          const saved = await this.#iptables.save();
          isPeerSetRepaired = this.#ensurePeerSet(role, saved);
          desired = this.#desired(role, saved);
          const plan = this.#plan(saved, desired);
          if (plan !== undefined) result ??= this.#kindOf(plan, saved, desired);
          return plan;
        },
        apply: ({ text }) => this.#iptables.restore(text),
        isPassing: ({ status }) => status === RESOURCE_PROBLEM,
        askForLess: ({ message }) => this.#refuse(desired, message),
        describeDrift: ({ differences }) =>
          `${this.#iptables.name} takes the rules, yet ${differences.join(", ")}; ` +
          "is another program changing them all the time?",
      }, ATTEMPTS);
      this.#wanted = this.#rulesByName(desired);
      return result ?? (isPeerSetRepaired ? "changed" : "unchanged");
    } catch (error) {
      // Omitting some rules did not help: try them again next time.
      this.#refused = refused.all;
      this.#rawRefused = refused.raw;
      if (result === "made") await this.#undo();
      throw error;
    }
  }

  /** Removes what a failed start has put in place: one table may have been committed. */
  async #undo(): Promise<void> {
    try {
      const plan = this.#plan(await this.#iptables.save(), NOTHING);
      if (plan !== undefined) await this.#iptables.restore(plan.text);
    } catch (error) {
      // Throw the first error, which has the cause.
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  #plan(saved: SavedRules, desired: DesiredChains): Plan | undefined {
    return planRestore(saved, desired, this.#networks, this.#spec.tag);
  }

  /** Does without one more of the chains that others can do without. @returns false when there are none */
  #refuse(desired: DesiredChains, why: string): boolean {
    if (desired(RAW_CHAIN) !== undefined) this.#rawRefused = why;
    else if (desired(INPUT_CHAIN) !== undefined) this.#refused = why;
    else return false;
    return true;
  }

  /** Whose chains would be changed by a plan, and why. */
  #kindOf({ chains }: Plan, saved: SavedRules, desired: DesiredChains): Reconciled {
    const before = this.#wanted;
    const now = this.#rulesByName(desired);
    if (before !== undefined && chains.every((name) => before.get(name) !== now.get(name))) {
      return "extended";
    }
    return hasOwnRules(saved, this.#networks, this.#spec.tag) ? "changed" : "made";
  }

  #rulesByName(desired: DesiredChains): ReadonlyMap<string, string> {
    return new Map(
      ownChains(this.#spec.tag).flatMap((chain) => {
        const rules = desired(chain);
        return rules === undefined ? [] : [[chain.name, JSON.stringify(rules)] as const];
      }),
    );
  }

  /** Sees to the set before rules refer to it. @returns true when it was damaged */
  #ensurePeerSet(role: Role, saved: SavedRules): boolean {
    this.#usesPeerSet = role !== "nothing" && this.#ingress(saved)?.underlay !== undefined;
    if (!this.#usesPeerSet) return false;
    try {
      return this.#peers.ensure();
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      this.#refused = error.message;
      this.#usesPeerSet = false;
      return false;
    }
  }

  /** Docker's drops are in the set that Docker uses, whichever set holds the rest. */
  #ingress(saved: SavedRules): FirewallSpec["ingress"] {
    return this.#refused === undefined && hasDockerChains(saved, this.#spec.tag)
      ? this.#spec.ingress
      : undefined;
  }

  #desired(role: Role, saved: SavedRules): DesiredChains {
    const randomFully = this.#spec.randomFully && this.#iptables.hasRandomFully;
    const spec = { ...this.#spec, randomFully, ingress: this.#ingress(saved) };
    this.#hasRaw = saved.has(RAW_CHAIN.table);
    this.#hasDocker = hasDockerChains(saved, this.#spec.tag);
    const rulesOf = (spec: FirewallSpec): DesiredChains => (chain) =>
      chain.table === RAW_CHAIN.table && this.#rawRefused !== undefined
        ? undefined
        : desiredRules(chain, spec);
    switch (role) {
      case "all":
        return rulesOf(spec);
      case "acceptance": {
        const forward = spec.forward && mayDropForwarded(saved, this.#networks);
        return rulesOf({ ...spec, forward, ipMasq: false, guard: undefined });
      }
      case "nothing":
        return NOTHING;
    }
  }
}
