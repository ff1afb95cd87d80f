import { DOCKER_TABLE } from "./docker_bridges.ts";
import { FirewallError } from "./errors.ts";
import type { EnsureResult, Firewall, FirewallSpec } from "./firewall.ts";
import type { NftBaseChain } from "./nft_format.ts";
import type { PeerSet } from "./peer_set.ts";
import type { SourcesChange } from "./peer_sources.ts";
import type { Reconciled, Role } from "./ruleset.ts";
import type { Assignment, Tools } from "./tools.ts";

/** What a {@linkcode HostFirewall} works with. */
export interface HostFirewallParts {
  readonly tools: Tools;
  /** Looks for the host's tools again, since Docker brings iptables along. */
  readonly find: () => Promise<Tools>;
  readonly peers: PeerSet;
}

/** Our rules in all sets of rules that the host has. */
export class HostFirewall implements Firewall {
  readonly #spec: FirewallSpec;
  readonly #find: () => Promise<Tools>;
  readonly #peers: PeerSet;
  #tools: Tools;
  /** No rule refers to the peers' set, and there is none. */
  #isSwept = false;
  /** {@linkcode ensure} has once left all rules in place. */
  #settled = false;
  /** Ends when the call before has: two at a time would each undo what the other read. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(spec: FirewallSpec, { tools, find, peers }: HostFirewallParts) {
    this.#spec = spec;
    this.#tools = tools;
    this.#find = find;
    this.#peers = peers;
  }

  get description(): string {
    return this.#tools.description ??
      "none: neither iptables nor nft was found, so nothing is done to accept forwarded packets; " +
        `if this host drops them by other means, let it accept ${this.#spec.network}`;
  }

  check(): Promise<readonly string[]> {
    return this.#exclusive(async () => {
      const lines: string[] = [];
      for (const { ruleset, role } of await this.#assignments()) {
        for (const { sign, rule } of await ruleset.check(role)) lines.push(`${sign} ${rule}`);
      }
      const set = this.#usesPeerSet ? this.#peers.check() : this.#peers.leftover();
      return [...lines, ...set.map(({ sign, rule }) => `${sign} ${rule}`)];
    });
  }

  ensure(): Promise<EnsureResult> {
    return this.#exclusive(async () => {
      const results = await this.#reconcile(({ role }) => role);
      const isDamage = results.some((one) => one === "changed" || one === "made");
      const result = results.every((one) => one === "unchanged")
        ? "unchanged"
        : this.#settled && isDamage
        ? "repaired"
        : "applied";
      // Without a tool nothing is in place yet.
      this.#settled = this.#tools.description !== undefined;
      // Left behind by another mode: removed once, and nobody puts it back.
      const assignments = this.#tools.assignments.filter(({ role }) => role !== "nothing");
      this.#tools = { ...this.#tools, assignments };
      return result;
    });
  }

  remove(): Promise<void> {
    return this.#exclusive(async () => {
      this.#tools = await this.#find();
      await this.#reconcile(() => "nothing");
      this.#settled = false;
    });
  }

  changePeers(change: SourcesChange): void {
    this.#peers.change(change);
    for (const { ruleset } of this.#tools.assignments) ruleset.changePeers?.(change);
  }

  obstacles(): Promise<readonly string[]> {
    return this.#exclusive(async () => {
      const refused = this.#tools.assignments.map(({ ruleset }) => ruleset.refused)
        .filter((why) => why !== undefined);
      const chains = await this.#tools.nftables?.baseChains() ?? [];
      const dropping = chains.filter((chain) => this.#drops(chain))
        .map(({ family, table, name }) =>
          `nftables chain "${family} ${table} ${name}" drops forwarded packets that it does not ` +
          `accept itself, those of ${this.#spec.network} too unless it has rules for them; if it ` +
          `has not: nft insert rule ${family} ${table} ${name} ip saddr ${this.#spec.network} ` +
          `accept, and the same with daddr`
        );
      return [
        ...refused.map((why) =>
          `Docker drops packets from other hosts to containers, and cannot be kept from it: ${why}; ` +
          "see to that and restart flanneld, or run with -docker-rules=off"
        ),
        ...dropping,
      ];
    });
  }

  /** iptables' own chain in nftables is seen to by its set's role. */
  #drops({ family, table, name, hook, priority, policy }: NftBaseChain): boolean {
    const isIptables = family === "ip" && table === "filter" && name === "FORWARD" &&
      priority === 0 && this.#tools.complete;
    // flanneld accepts there what is for this host's containers.
    const isDocker = this.#spec.ingress !== undefined && `${family} ${table}` === DOCKER_TABLE;
    return this.#spec.forward && hook === "forward" && policy === "drop" && !isIptables &&
      !isDocker &&
      (family === "ip" || family === "inet");
  }

  /**
   * Reconciles set after set. A first start that fails takes back what it has put into the sets before
   * the one that failed.
   *
   * @returns what was done to each set
   */
  async #reconcile(roleOf: (assignment: Assignment) => Role): Promise<Reconciled[]> {
    const done: { assignment: Assignment; result: Reconciled }[] = [];
    try {
      for (const assignment of await this.#assignments()) {
        const result = await assignment.ruleset.reconcile(roleOf(assignment));
        done.push({ assignment, result });
      }
      if (this.#usesPeerSet) this.#isSwept = false;
      else if (!this.#isSwept) {
        this.#peers.remove();
        this.#isSwept = true;
      }
    } catch (error) {
      for (const { assignment, result } of this.#settled ? [] : done) {
        if (result !== "made") continue;
        await assignment.ruleset.reconcile("nothing").catch((second) => {
          // The error that led here says more.
          if (!(second instanceof FirewallError)) throw second;
        });
      }
      throw error;
    }
    return done.map(({ result }) => result);
  }

  get #usesPeerSet(): boolean {
    return this.#tools.assignments.some(({ ruleset }) => ruleset.usesPeerSet === true);
  }

  async #assignments(): Promise<readonly Assignment[]> {
    if (!this.#tools.complete) this.#tools = await this.#find();
    return this.#tools.assignments;
  }

  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }
}
