import type { FirewalldObjects, HostTool } from "./inspect/host_tool.ts";
import type { Obstacle, OverlayPath } from "./inspect/obstacles.ts";
import type { PeerSources, SourcesChange } from "./peer_sources.ts";

/**
 * Tool that makes the rules: `iptables`, `nftables`, or with `auto` the tool that the host uses.
 */
export type FirewallMode = "auto" | "iptables" | "nftables";

/**
 * Result of {@linkcode Firewall.ensure}: all rules were in place, were missing at the first call, or were damaged
 * since the last call.
 */
export type EnsureResult = "unchanged" | "applied" | "repaired";

/**
 * The rules of one network in the host's firewall. They outlive the object and the process, so that containers keep
 * their connectivity while the agent is down; only {@linkcode Firewall.remove} removes them.
 */
export interface Firewall {
  /** The tool in use and its version, or the reason for none; for logs and status. */
  readonly description: string;

  /** True while the host has a tool that makes the rules of `FirewallSpec.guard`. */
  readonly isGuarding: boolean;

  /**
   * Returns the changes that {@linkcode ensure} would make, one line each: `- ` or `+ ` and a rule in its tool's
   * syntax. Changes nothing.
   *
   * @throws {FirewallError} when the rules cannot be read
   */
  check(): Promise<readonly string[]>;

  /**
   * Reconciles the rules with the specification: adds missing rules, and removes those of another network, another
   * subnet or an older flannel. Does not touch rules of other programs.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  ensure(): Promise<EnsureResult>;

  /**
   * Removes all rules, chains and tables of flanneld that any tool made for this network, and those of an older
   * flannel.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  remove(): Promise<void>;

  /**
   * Applies a change of {@linkcode FirewallOptions.peers} to the kernel, if rules refer to them. Cost: O(changes).
   * The next {@linkcode ensure} repairs a failure.
   */
  changePeers(change: SourcesChange): void;

  /**
   * Finds rules of other programs that drop packets of the network. flanneld does not change them, and no rule in
   * another table can override a drop. Cost: one process per iptables rule set and per filtering nftables table.
   *
   * @param path how packets enter. @default unknown: checks forwarded packets of any device
   * @throws {FirewallError} when the rules cannot be read
   */
  survey(path?: OverlayPath): Promise<FirewallSurvey>;
}

/** The findings of {@linkcode Firewall.survey}. */
export interface FirewallSurvey {
  /** Programs that manage the host's firewall. */
  readonly tools: readonly HostTool[];
  readonly obstacles: readonly Obstacle[];
  /** flanneld's objects in firewalld; absent when firewalld does not run. */
  readonly firewalld?: FirewalldObjects | undefined;
}

/** Options of `openFirewall`. */
export interface FirewallOptions {
  /** Tool for the rules. @default "auto" */
  readonly mode?: FirewallMode;
  /**
   * The network's config asks for nftables (`EnableNFTables`): `auto` then uses it if the host has it.
   *
   * @default false
   */
  readonly preferNftables?: boolean;
  /**
   * Sources of peers whose packets arrive without encapsulation. Their owner passes changes to
   * {@linkcode Firewall.changePeers}.
   *
   * @default none
   */
  readonly peers?: PeerSources;
  /**
   * An agent runs for the network: `auto` then keeps the tool of the agent's start, even if another one was
   * installed since, or another program has begun to use it.
   *
   * @default false
   */
  readonly isRunning?: boolean;
  /** Ends running commands; their uncommitted changes are lost. @default never */
  readonly signal?: AbortSignal;
  /** Called with the name of each command as it starts. */
  readonly onCommand?: ((name: string) => void) | undefined;
  /**
   * Prefix of every command: `["nsenter", "--net=/run/netns/host1"]` selects another network namespace.
   *
   * @default []
   */
  readonly commandPrefix?: readonly string[];
  /**
   * Path of the network namespace for netlink, the same as that of `commandPrefix`.
   *
   * @default this process's
   */
  readonly netns?: string;
  /**
   * Directories to search for the tools. @default PATH, then /usr/local/sbin, /usr/sbin and /sbin
   */
  readonly searchPath?: readonly string[];
}
