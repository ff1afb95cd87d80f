import type { ReadChain } from "../inspect/chain_walk.ts";
import type { HostCommands } from "../command.ts";
import { FirewallError } from "../errors.ts";
import {
  type NftBaseChain,
  type NftForeignTable,
  type NftTable,
  parseNftBaseChains,
  parseNftForeignTable,
  parseNftTable,
  parseNftTables,
} from "./nft_format.ts";
import { desiredNftChains, IPV6_TABLE, type NftPlan, ownTable, planNft } from "./nft_plan.ts";
import { readNftables } from "./read_nftables.ts";
import type { Reconciled, Role, Ruleset } from "../ruleset.ts";
import type { FirewallSpec } from "../firewall_spec.ts";
import type { RuleChange } from "../ruleset.ts";
import { applyUntilInPlace } from "../apply_until_in_place.ts";

/** The host's nft(8). */
export class Nftables {
  private constructor(
    private readonly commands: HostCommands,
    private readonly path: string,
    /** `1.1.3` */
    readonly version: string,
  ) {}

  /**
   * Finds it.
   *
   * @returns `undefined` when the host has none
   * @throws {FirewallError} when it has, and it does not work
   */
  static async find(commands: HostCommands): Promise<Nftables | undefined> {
    const path = commands.find("nft");
    if (path === undefined) return undefined;
    const answer = await commands.run(path, ["--version"]);
    const version = /v(\d+(?:\.\d+)*)/.exec(answer)?.[1];
    if (version === undefined) {
      throw new FirewallError(`nft --version answered ${JSON.stringify(answer.trim())}`);
    }
    return new Nftables(commands, path, version);
  }

  get description(): string {
    return `nftables ${this.version}`;
  }

  /** Family and name of every table. */
  async tables(): Promise<string[]> {
    return parseNftTables(await this.commands.run(this.path, ["-j", "list", "tables"]));
  }

  /** One table, which has to be there. */
  async table(name: string): Promise<NftTable> {
    return parseNftTable(
      await this.commands.run(this.path, ["-j", "list", "table", ...name.split(" ")]),
    );
  }

  /** A table of others, which has to be there, without the elements of its sets. */
  async foreignTable(name: string): Promise<NftForeignTable> {
    const args = ["-j", "--terse", "--handle", "list", "table", ...name.split(" ")];
    return parseNftForeignTable(await this.commands.run(this.path, args));
  }

  /** One table's chains for a walk, which has to be there. */
  async chains(name: string): Promise<Map<string, ReadChain>> {
    return readNftables(
      await this.commands.run(this.path, ["-j", "list", "table", ...name.split(" ")]),
    );
  }

  /** The base chains of every table. */
  async baseChains(): Promise<NftBaseChain[]> {
    return parseNftBaseChains(await this.commands.run(this.path, ["-j", "list", "chains"]));
  }

  /** A chain's rules in nft's syntax, by handle. */
  async rulesByHandle(family: string, table: string, chain: string): Promise<Map<bigint, string>> {
    const text = await this.commands.run(
      ...[this.path, ["-a", "list", "chain", family, table, chain]] as const,
    );
    const rules = text.matchAll(/^\s*(.+?) # handle (\d+)$/gm);
    return new Map([...rules].map(([, rule, handle]) => [BigInt(handle!), rule!]));
  }

  /** Carries out a text of nft's commands, as a whole or not at all. */
  async apply(text: string): Promise<void> {
    await this.commands.run(this.path, ["-f", "-"], text);
  }
}

/**
 * Our table in nftables. Cost of a {@linkcode reconcile} that finds all in place: two processes,
 * 3 ms each, and whatever others have there is not read.
 */
export class NftablesRuleset implements Ruleset {
  readonly #nftables: Nftables;
  readonly #spec: FirewallSpec;
  /** The sources that were wanted, and in place, when last reconciled. */
  #wanted: string | undefined;

  constructor(nftables: Nftables, spec: FirewallSpec) {
    this.#nftables = nftables;
    this.#spec = spec;
  }

  get description(): string {
    return this.#nftables.description;
  }

  async check(role: Role): Promise<readonly RuleChange[]> {
    const { plan } = await this.#plan(role);
    return (plan?.changes ?? []).map(({ sign, rule }) => ({ sign, rule: `nft ${rule}` }));
  }

  async reconcile(role: Role): Promise<Reconciled> {
    const before = this.#wanted;
    let wanted: string | undefined;
    let isNew: boolean | undefined;
    try {
      const applied = await applyUntilInPlace<NftPlan>({
        plan: async () => {
          const planned = await this.#plan(role);
          isNew ??= planned.table === undefined;
          wanted = planned.wanted;
          return planned.plan;
        },
        apply: ({ text }) => this.#nftables.apply(text),
        describeDrift: ({ changes }) =>
          "nft takes the rules, yet reads others back: " +
          changes.map(({ sign, rule }) => `${sign} ${rule}`).join(", ") +
          "; is another program changing them all the time?",
      });
      this.#wanted = wanted;
      if (applied === 0) return "unchanged";
      if (isNew) return "made";
      return before === undefined || before === wanted ? "changed" : "extended";
    } catch (error) {
      if (isNew) await this.#undo();
      throw error;
    }
  }

  /** Removes what a failed start has put in place. */
  async #undo(): Promise<void> {
    try {
      const { plan } = await this.#plan("nothing");
      if (plan !== undefined) await this.#nftables.apply(plan.text);
    } catch (error) {
      // Throw the first error, which has the cause.
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  async #plan(role: Role): Promise<
    { table: NftTable | undefined; plan: NftPlan | undefined; wanted: string }
  > {
    const tables = await this.#nftables.tables();
    const { tag } = this.#spec;
    const own = ownTable(tag);
    const table = tables.includes(own) ? await this.#nftables.table(own) : undefined;
    // Acceptance here would be useless: a table cannot override a drop in another one.
    const desired = role === "all" ? desiredNftChains(this.#spec) : [];
    return {
      table,
      wanted: JSON.stringify(desired),
      plan: planNft(table, desired, tag === undefined && tables.includes(IPV6_TABLE), own),
    };
  }
}
