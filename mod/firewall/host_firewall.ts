import { FirewallError } from "./errors.ts";
import type { EnsureResult, Firewall, FirewallSurvey } from "./firewall.ts";
import { readFirewalldObjects } from "./inspect/host_tool.ts";
import {
  findObstacles,
  hostToolsIn,
  type Obstacle,
  type OverlayPath,
} from "./inspect/obstacles.ts";
import type { PeerSet } from "./peer_set.ts";
import type { SourcesChange } from "./peer_sources.ts";
import { readTables } from "./inspect/read_tables.ts";
import type { Reconciled, Role } from "./ruleset.ts";
import type { Assignment, Tools } from "./tools.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

/** The parts of a {@linkcode HostFirewall}. */
export interface HostFirewallParts {
  readonly tools: Tools;
  /** Finds the host's tools again: an installation of Docker adds iptables. */
  readonly find: () => Promise<Tools>;
  readonly peers: PeerSet;
}

/** flanneld's rules in all rule sets of the host. */
export class HostFirewall implements Firewall {
  readonly #spec: FirewallSpec;
  readonly #find: () => Promise<Tools>;
  readonly #peers: PeerSet;
  #tools: Tools;
  /** True when no rule refers to the peers' set, and the set does not exist. */
  #isSwept = false;
  /** True once {@linkcode ensure} has put all rules in place. */
  #isInPlace = false;
  /** Serializes calls: concurrent ones would act on outdated reads. */
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

  get isGuarding(): boolean {
    const { assignments, description } = this.#tools;
    return this.#spec.guard !== undefined && description !== undefined &&
      !assignments.some(({ ruleset, role }) => role === "all" && ruleset.isGuardRefused);
  }

  check(): Promise<readonly string[]> {
    return this.#exclusive(async () => {
      const lines: string[] = [];
      for (const { ruleset, role } of await this.#assignments()) {
        for (const { sign, rule } of await ruleset.check(role)) lines.push(`${sign} ${rule}`);
      }
      const set = this.#usesPeerSet ? this.#peers.check() : this.#peers.staleState();
      return [...lines, ...set.map(({ sign, rule }) => `${sign} ${rule}`)];
    });
  }

  ensure(): Promise<EnsureResult> {
    return this.#exclusive(async () => {
      const results = await this.#reconcile(({ role }) => role);
      const isDamage = results.some((one) => one === "changed" || one === "made");
      const result = results.every((one) => one === "unchanged")
        ? "unchanged"
        : this.#isInPlace && isDamage
        ? "repaired"
        : "applied";
      // Without a tool no rule is in place.
      this.#isInPlace = this.#tools.description !== undefined;
      // Rules of another mode have to be removed only once.
      const assignments = this.#tools.assignments.filter(({ role }) => role !== "nothing");
      this.#tools = { ...this.#tools, assignments };
      return result;
    });
  }

  remove(): Promise<void> {
    return this.#exclusive(async () => {
      this.#tools = await this.#find();
      await this.#reconcile(() => "nothing");
      this.#isInPlace = false;
    });
  }

  changePeers(change: SourcesChange): void {
    this.#peers.change(change);
    for (const { ruleset } of this.#tools.assignments) ruleset.changePeers?.(change);
  }

  survey(path?: OverlayPath): Promise<FirewallSurvey> {
    return this.#exclusive(async () => {
      const tables = await readTables(this.#tools, this.#spec);
      const tools = hostToolsIn(tables);
      const firewalld = tools.includes("firewalld") ? await readFirewalldObjects() : undefined;
      const obstacles = findObstacles(tables, this.#spec, path, firewalld);
      return { tools, obstacles: [...this.#refused(), ...obstacles], firewalld };
    });
  }

  /** Returns the refusals of the tools. */
  #refused(): Obstacle[] {
    return this.#tools.assignments.map(({ ruleset }) => ruleset.refused)
      .filter((text) => text !== undefined)
      .map((text) => ({ hook: "forward", text, commands: [] }));
  }

  /**
   * Reconciles the rule sets in order. When the first start fails, removes the rules that it added to earlier sets.
   *
   * @returns the result of each set
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
      for (const { assignment, result } of this.#isInPlace ? [] : done) {
        if (result !== "made") continue;
        await assignment.ruleset.reconcile("nothing").catch((second) => {
          // Throw the first error, which has the cause.
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
