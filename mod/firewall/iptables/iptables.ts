import { type HostCommands, LOCK_SECONDS } from "../command.ts";
import { FirewallError } from "../errors.ts";
import { foreignWeight, hasOwnRules } from "../plan.ts";
import { parseSave, type SavedRules } from "./save_format.ts";
import type { PreviousNetwork } from "../firewall_spec.ts";

/** Rule set of the kernel that an iptables program changes. */
export type IptablesMode = "nft" | "legacy";

/** Version of iptables, `[1, 8, 11]`. */
export type IptablesVersion = readonly [number, number, number];

/**
 * Release 1.6.2 brought `MASQUERADE --random-fully`, and `--wait` to iptables-restore. Before
 * it, iptables-restore took no lock: a change by somebody else at the same moment fails it, and
 * it is tried again.
 */
const RELEASE_1_6_2: IptablesVersion = [1, 6, 2];

/** One iptables of the host: a program to read the rules and one to change them. */
export class Iptables {
  /** Failure of the other set for want of a kernel module, which restore() names when it fails for the same reason. */
  otherFailure?: FirewallError;

  constructor(
    private readonly commands: HostCommands,
    /** `iptables`, `iptables-nft` or `iptables-legacy`. */
    readonly name: string,
    readonly mode: IptablesMode,
    readonly version: IptablesVersion,
    private readonly savePath: string,
    private readonly restorePath: string,
  ) {}

  /** Whether MASQUERADE can choose source ports at random. */
  get hasRandomFully(): boolean {
    return atLeast(this.version, RELEASE_1_6_2);
  }

  get description(): string {
    return `${this.name} ${this.version.join(".")} (${this.mode})`;
  }

  /** Reads all tables: one process, and no table or kernel module comes into being by it. */
  async save(): Promise<SavedRules> {
    return parseSave(await this.commands.run(this.savePath, []));
  }

  /**
   * Changes what `text` names, each table as a whole or not at all.
   *
   * @throws {FirewallError} naming the line that was refused
   */
  async restore(text: string): Promise<void> {
    const wait = atLeast(this.version, RELEASE_1_6_2) ? [`--wait=${LOCK_SECONDS}`] : [];
    try {
      await this.commands.run(this.restorePath, ["--noflush", ...wait], text);
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      if (error.missingModule !== undefined && this.otherFailure !== undefined) {
        throw new FirewallError(`${error.message}; ${this.otherFailure.message}`, { cause: error });
      }
      const number = /line:? (\d+)/.exec(error.message)?.[1];
      const line = number === undefined ? undefined : text.split("\n")[Number(number) - 1];
      if (line === undefined) throw error;
      throw new FirewallError(`${error.message} (line ${number} is "${line}")`, {
        cause: error,
        ...(error.status === undefined ? {} : { status: error.status }),
      });
    }
  }
}

/** The iptables to use. */
export interface IptablesChoice {
  readonly use: Iptables;
  /** The one of the other set. */
  readonly other?: Iptables;
  /** How much others rely on the set of `use`; 0 when nobody does. */
  readonly foreignWeight: number;
  /** One of the sets has rules of flanneld. */
  readonly hasOwnRules: boolean;
}

/**
 * Finds the iptables program of the rule set that the host's other programs use. The kernel has two rule sets, packets
 * pass both, and either may drop them. Selects the set with more rules of other programs; with equal sets that of
 * plain `iptables`, which Docker calls.
 *
 * Cost: one process for each of two programs, and one iptables-save per set.
 *
 * @param tag of the network's chains
 * @returns `undefined` when the host has no iptables
 * @throws {FirewallError} when every iptables of the host fails
 */
export async function chooseIptables(
  commands: HostCommands,
  networks: readonly PreviousNetwork[],
  tag?: string,
): Promise<IptablesChoice | undefined> {
  const { found, failures } = await findIptables(commands);
  const readable: { iptables: Iptables; weight: number; isOwn: boolean }[] = [];
  for (const iptables of found.values()) {
    try {
      const saved = await iptables.save();
      const weight = foreignWeight(saved, networks);
      readable.push({ iptables, weight, isOwn: hasOwnRules(saved, networks, tag) });
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      failures.push(error);
    }
  }
  if (readable.length === 0 && failures.length > 0) throw failures[0];
  // Stable: of equals the first stays the first.
  const [use, other] = readable.sort((a, b) => b.weight - a.weight);
  if (use === undefined) return undefined;
  const otherFailure = failures.find(({ missingModule }) => missingModule !== undefined);
  if (otherFailure !== undefined) use.iptables.otherFailure = otherFailure;
  return {
    use: use.iptables,
    ...(other === undefined ? {} : { other: other.iptables }),
    foreignWeight: use.weight,
    hasOwnRules: readable.some(({ isOwn }) => isOwn),
  };
}

/**
 * Finds an iptables program for each of the kernel's two rule sets; prefers plain `iptables`.
 *
 * @returns the working programs, and the errors of the others
 */
export async function findIptables(
  commands: HostCommands,
): Promise<{ found: ReadonlyMap<IptablesMode, Iptables>; failures: FirewallError[] }> {
  const found = new Map<IptablesMode, Iptables>();
  const failures: FirewallError[] = [];
  for (const name of ["iptables", "iptables-nft", "iptables-legacy"]) {
    // The names of the last two end in the set that they change.
    if ([...found.keys()].some((mode) => name.endsWith(mode))) continue;
    try {
      const iptables = await probeIptables(commands, name);
      if (iptables !== undefined && !found.has(iptables.mode)) found.set(iptables.mode, iptables);
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      failures.push(error);
    }
  }
  return { found, failures };
}

/** The iptables of that name, or `undefined` when the host has not all of its programs. */
async function probeIptables(commands: HostCommands, name: string): Promise<Iptables | undefined> {
  const program = commands.find(name);
  const save = commands.find(`${name}-save`);
  const restore = commands.find(`${name}-restore`);
  if (program === undefined || save === undefined || restore === undefined) return undefined;
  const { mode, version } = parseVersion(await commands.run(program, ["--version"]));
  return new Iptables(commands, name, mode, version, save, restore);
}

/**
 * Reads `iptables v1.8.11 (nf_tables)`; releases before 1.8, which knew one set of rules only,
 * write no word in brackets.
 *
 * @throws {FirewallError} when the text is no version
 */
export function parseVersion(text: string): { mode: IptablesMode; version: IptablesVersion } {
  const match = /v(\d+)\.(\d+)(?:\.(\d+))?(?:\s+\((\w+)\))?/.exec(text);
  if (match === null) {
    throw new FirewallError(`iptables --version answered ${JSON.stringify(text.trim())}`);
  }
  return {
    mode: match[4] === "nf_tables" ? "nft" : "legacy",
    version: [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)],
  };
}

function atLeast(version: IptablesVersion, wanted: IptablesVersion): boolean {
  for (let i = 0; i < 3; i++) {
    if (version[i] !== wanted[i]) return version[i]! > wanted[i]!;
  }
  return true;
}
