import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import { type NftSetName, NftSets, SysError } from "../../sys/mod.ts";
import { DOCKER_TABLE, dockerSets, planDockerBridges } from "./docker_bridges.ts";
import { FirewallError } from "../errors.ts";
import type { Nftables } from "../nftables/nftables.ts";
import type { PeerSources, SourcesChange } from "../peer_sources.ts";
import { dockerRefusal, type Reconciled, type Role, type Ruleset } from "../ruleset.ts";
import type { FirewallSpec } from "../firewall_spec.ts";
import type { RuleChange } from "../ruleset.ts";
import { applyUntilInPlace } from "../apply_until_in_place.ts";

/** More elements of a plan than this are summed up. */
const MOST_LISTED = 20;

/** Its name without the family. */
const TABLE_NAME = DOCKER_TABLE.split(" ")[1]!;

/** Elements of a set that have to come or go. */
interface SetDifference {
  readonly name: NftSetName;
  readonly missing: readonly Prefix[];
  readonly surplus: readonly Prefix[];
}

/**
 * The rules of one network in Docker's own table of nftables, where there is one. Docker writes its chains
 * again at each change, and the rules are put back then: that is no damage.
 *
 * Cost of a {@linkcode reconcile} without such a table: one message of netlink. With it, one nft that lists the
 * table without the elements of its sets; and where packets arrive without encapsulation, one dump of those.
 */
export class DockerBridgesRuleset implements Ruleset {
  readonly #nftables: Nftables;
  readonly #spec: FirewallSpec;
  readonly #peers: PeerSources;
  readonly #netns: string | undefined;
  /** The sets are in the kernel, as far as is known. */
  #usesSets = false;
  #refused: string | undefined;

  /** @param netns path of the network namespace that `nftables` works in */
  constructor(
    nftables: Nftables,
    spec: FirewallSpec,
    { peers, netns }: { readonly peers: PeerSources; readonly netns?: string | undefined },
  ) {
    this.#nftables = nftables;
    this.#spec = spec;
    this.#peers = peers;
    this.#netns = netns;
  }

  get description(): string {
    return this.#nftables.description;
  }

  get refused(): string | undefined {
    return this.#refused === undefined ? undefined : dockerRefusal(this.#refused);
  }

  async check(role: Role): Promise<readonly RuleChange[]> {
    if (!this.#hasTable()) return [];
    const plan = await this.#plan(role);
    return [
      ...(plan?.changes ?? []).map(({ sign, rule }) => ({ sign, rule: `nft ${rule}` })),
      ...(role === "nothing" ? [] : this.#differences().flatMap(listDifference)),
    ];
  }

  /** Ignores a refusal of the rules: those of other tables do not depend on them. */
  async reconcile(role: Role): Promise<Reconciled> {
    try {
      const result = await this.#reconcile(role);
      this.#refused = undefined;
      return result;
    } catch (error) {
      if (role === "nothing" || !(error instanceof FirewallError)) throw error;
      this.#refused = error.message;
      return "unchanged";
    }
  }

  async #reconcile(role: Role): Promise<Reconciled> {
    const usesSets = role !== "nothing" && this.#spec.ingress?.underlay !== undefined;
    if (!usesSets) this.#usesSets = false;
    let hasTable = false;
    const applied = await applyUntilInPlace({
      plan: async () => {
        // Docker may remove its table at any time.
        hasTable = this.#hasTable();
        return hasTable ? await this.#plan(role) : undefined;
      },
      apply: ({ text }) => this.#nftables.apply(text),
      describeDrift: () =>
        `nft takes the rules in table ${DOCKER_TABLE}, yet they are not there; is Docker changing them ` +
        "all the time?",
    });
    if (!hasTable) this.#usesSets = false;
    if (usesSets && hasTable) await this.#fill();
    return applied === 0 ? "unchanged" : "extended";
  }

  changePeers({ added, removed }: SourcesChange): void {
    if (!this.#usesSets) return;
    try {
      this.#with((sets) => {
        for (const name of this.#sets()) {
          for (const prefix of removed.filter(isElementOf(name))) sets.delete(name, [prefix]);
          for (const prefix of added.filter(isElementOf(name))) sets.add(name, [prefix]);
        }
      });
    } catch (error) {
      // The next reconciliation repairs it.
      if (!(error instanceof FirewallError)) throw error;
    }
  }

  async #plan(role: Role) {
    const table = await this.#nftables.foreignTable(DOCKER_TABLE);
    const spec = role === "nothing" ? { ...this.#spec, ingress: undefined } : this.#spec;
    return planDockerBridges(table, spec);
  }

  /**
   * Brings the elements of the sets to those wanted, in one transaction: an nft for any number. Peers may
   * change while it runs, so that it is over once nothing differs.
   */
  async #fill(): Promise<void> {
    await applyUntilInPlace({
      plan: () => {
        const lines = this.#differences().flatMap(({ name, missing, surplus }) =>
          ([["delete", surplus], ["add", missing]] as const)
            .filter(([, elements]) => elements.length > 0)
            .map(([verb, elements]) =>
              `${verb} element ${DOCKER_TABLE} ${name.set} { ${elements.map(inWords).join(", ")} }`
            )
        );
        // From here on changePeers() keeps them.
        this.#usesSets = true;
        return Promise.resolve(lines.length === 0 ? undefined : { text: lines.join("\n") + "\n" });
      },
      apply: ({ text }) => this.#nftables.apply(text),
      // The peers have changed again, which changePeers() carries over.
      describeDrift: () => undefined,
    });
  }

  #differences(): SetDifference[] {
    if (this.#spec.ingress?.underlay === undefined) return [];
    const wanted = [...this.#peers.values()];
    return this.#sets().map((name) => {
      const is = this.#with((sets) => sets.elements(name));
      const present = new Set(is.map(({ key }) => key));
      return {
        name,
        missing: wanted.filter(isElementOf(name)).filter(({ key }) => !present.has(key)),
        surplus: is.filter((prefix) => !this.#peers.has(prefix)),
      };
    });
  }

  #sets(): NftSetName[] {
    const { leases, hosts } = dockerSets(this.#spec.tag);
    return [
      { table: TABLE_NAME, set: leases, isInterval: true },
      { table: TABLE_NAME, set: hosts, isInterval: false },
    ];
  }

  #hasTable(): boolean {
    return this.#with((sets) => sets.hasTable(TABLE_NAME));
  }

  #with<T>(action: (sets: NftSets) => T): T {
    try {
      using sets = new NftSets({ netns: this.#netns });
      return action(sets);
    } catch (cause) {
      if (!(cause instanceof SysError)) throw cause;
      throw new FirewallError(`nftables: ${cause.message}`, { cause });
    }
  }
}

/** Single addresses are public IPs, everything shorter a subnet. */
function isElementOf({ isInterval }: NftSetName): (prefix: Prefix) => boolean {
  return ({ length }) => (length < 32) === isInterval;
}

/** A set without intervals takes no prefix length. */
function inWords({ address, length }: Prefix): string {
  return length === 32 ? formatIPv4(address) : `${formatIPv4(address)}/${length}`;
}

function listDifference({ name, missing, surplus }: SetDifference): RuleChange[] {
  const add = `nft add element ${DOCKER_TABLE} ${name.set}`;
  return ([["-", surplus], ["+", missing]] as const).flatMap(([sign, elements]) =>
    elements.length > MOST_LISTED
      ? [{ sign, rule: `${add}: ${elements.length} elements` }]
      : elements.map((element) => ({ sign, rule: `${add} { ${inWords(element)} }` }))
  );
}
