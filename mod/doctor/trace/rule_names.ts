import type { HostCommands } from "../../firewall/command.ts";
import { FirewallError } from "../../firewall/errors.ts";
import {
  findIptables,
  type Iptables,
  type IptablesMode,
} from "../../firewall/iptables/iptables.ts";
import { Nftables } from "../../firewall/nftables/nftables.ts";
import type { SavedRules } from "../../firewall/iptables/save_format.ts";
import { NftSocket } from "../../sys/mod.ts";
import type { RulePlace } from "./fate.ts";

/** Tables of nf_tables that iptables-nft makes. */
const IPTABLES_TABLES = new Set(["filter", "nat", "mangle", "raw", "security"]);

/** A rule, or a base chain's policy, in the words of the tool that shows it. */
export interface NamedRule {
  readonly place: RulePlace;
  /** The tool that shows it: `nft`, `iptables`, `iptables-legacy`. */
  readonly program: string;
  readonly isPolicy: boolean;
  /** `-A FORWARD -i eth1 -j DROP`, `oifname "docker0" drop`; `undefined` where no program shows it. */
  readonly text: string | undefined;
  /** In its chain, from 1; of iptables only. */
  readonly number: number | undefined;
  /** The chains of its table. */
  readonly beside: readonly string[];
}

/** A rule as the tool shows it, without its place. */
type Shown = Omit<NamedRule, "place" | "isPolicy">;

/** Names rules as the host's tools do. */
export class RuleNames {
  readonly #commands: HostCommands;
  readonly #netns: string | undefined;
  #iptables: Promise<ReadonlyMap<IptablesMode, Iptables>> | undefined;
  readonly #saved = new Map<IptablesMode, Promise<SavedRules>>();

  /** @param netns path of the network namespace that `commands` run in; `undefined` is the thread's own */
  constructor(commands: HostCommands, netns: string | undefined) {
    this.#commands = commands;
    this.#netns = netns;
  }

  /** Names a rule. The name has no text when no tool is installed or none shows the rule. */
  async name(place: RulePlace): Promise<NamedRule> {
    const isPolicy = place.handle === undefined && place.number === undefined;
    const program = place.ruleset === "nftables" ? "nft" : place.ruleset;
    let shown: Shown | undefined;
    try {
      shown = await this.#show(place, isPolicy);
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
    }
    const unnamed = { program, text: undefined, number: place.number, beside: [] };
    return { place, isPolicy, ...(shown ?? unnamed) };
  }

  #show(place: RulePlace, isPolicy: boolean): Promise<Shown | undefined> {
    if (place.ruleset === "iptables-legacy") return this.#showIptables(place, "legacy", isPolicy);
    const isIptables = place.family === "ip" && IPTABLES_TABLES.has(place.table);
    return isIptables ? this.#showEither(place, isPolicy) : this.#showNft(place, isPolicy);
  }

  /** A table named as iptables' may still be nft's own. */
  async #showEither(place: RulePlace, isPolicy: boolean): Promise<Shown | undefined> {
    return await this.#showIptables(place, "nft", isPolicy) ?? await this.#showNft(place, isPolicy);
  }

  async #showIptables(
    place: RulePlace,
    mode: IptablesMode,
    isPolicy: boolean,
  ): Promise<Shown | undefined> {
    this.#iptables ??= findIptables(this.#commands).then(({ found }) => found);
    const iptables = (await this.#iptables).get(mode);
    if (iptables === undefined) return undefined;
    let saved = this.#saved.get(mode);
    if (saved === undefined) this.#saved.set(mode, saved = iptables.save());
    const chains = (await saved).get(place.table);
    const chain = chains?.get(place.chain);
    if (chains === undefined || chain === undefined) return undefined;
    const common = { program: iptables.name, beside: [...chains.keys()] };
    if (isPolicy) {
      return { ...common, text: `-P ${place.chain} ${chain.policy}`, number: undefined };
    }
    const number = place.number ?? this.#numberOf(place, chain.rules.length);
    const rule = number === undefined ? undefined : chain.rules[number - 1];
    if (rule === undefined) return undefined;
    return { ...common, text: `-A ${place.chain} ${rule}`, number };
  }

  /** The kernel lists the rules in their order; iptables leaves those out that it cannot show. */
  #numberOf({ family, table, chain, handle }: RulePlace, count: number): number | undefined {
    using nft = new NftSocket({ netns: this.#netns });
    const handles = nft.ruleHandles({ family, table }, chain);
    const index = handles.findIndex((one) => one === handle);
    return handles.length === count && index >= 0 ? index + 1 : undefined;
  }

  async #showNft(place: RulePlace, isPolicy: boolean): Promise<Shown | undefined> {
    const { family, table, chain, handle } = place;
    const common = { program: "nft", number: undefined, beside: [] };
    if (isPolicy) return { ...common, text: "policy drop" };
    const nft = await Nftables.find(this.#commands);
    const text = (await nft?.rulesByHandle(family, table, chain))?.get(handle!);
    return text === undefined ? undefined : { ...common, text };
  }
}

/** `iptables rule 3 of chain FORWARD, table filter: -A FORWARD -j DROP`. */
export function describeRule({ place, program, isPolicy, text, number }: NamedRule): string {
  const { family, table, chain, handle, path } = place;
  const where = program === "nft"
    ? `chain "${family} ${table} ${chain}"`
    : `chain ${chain}, table ${table}`;
  const name = number ?? (program === "nft" && handle !== undefined ? `with handle ${handle}` : "");
  const what = isPolicy ? `the policy of ${program === "nft" ? "nftables" : program}` : [
    ...[program === "nft" ? "nftables" : program, "rule", String(name)].filter((word) =>
      word !== ""
    ),
    "of",
  ].join(" ");
  const way = path.length > 1 ? ` (reached by ${path.slice(0, -1).join(", ")})` : "";
  return `${what} ${where}${way}${text === undefined || isPolicy ? "" : `: ${text}`}`;
}
