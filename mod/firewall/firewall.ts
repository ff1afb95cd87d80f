import type { FirewalldObjects, HostTool } from "./inspect/host_tool.ts";
import type { Obstacle, OverlayPath } from "./inspect/obstacles.ts";
import type { PeerSources, SourcesChange } from "./peer_sources.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

/**
 * Which of the host's tools the rules are made with: `iptables`, `nftables`, or, with `auto`, the one
 * that the host uses.
 */
export type FirewallMode = "auto" | "iptables" | "nftables";

/**
 * What {@linkcode Firewall.ensure} found: all rules in place, not yet there, or damaged since this
 * object last saw them in place.
 */
export type EnsureResult = "unchanged" | "applied" | "repaired";

/**
 * The rules of one network in the host's firewall. They outlive the object and the process, so
 * that containers keep their way out while the agent is down; only {@linkcode Firewall.remove}
 * takes them away.
 */
export interface Firewall {
  /** The tool in use and its version, or why there is none; for logs and status. */
  readonly description: string;

  /** True while the host has a tool that makes the rules of {@linkcode FirewallSpec.guard}. */
  readonly isGuarding: boolean;

  /**
   * What {@linkcode ensure} would change, one line each, `- ` or `+ ` before a rule in its tool's
   * words; empty when nothing. Changes nothing.
   *
   * @throws {FirewallError} when the rules cannot be read
   */
  check(): Promise<readonly string[]>;

  /**
   * Brings the rules to what the specification asks for, touching no others: the missing are
   * made, the ones of another network, another subnet or an older flannel are removed.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  ensure(): Promise<EnsureResult>;

  /**
   * Removes every rule, chain and table of ours, whichever tool made them, and those an older flannel
   * left for this network.
   *
   * @throws {FirewallError} when the rules cannot be read or changed
   */
  remove(): Promise<void>;

  /**
   * Carries a change of {@linkcode FirewallOptions.peers} to the kernel, where rules refer to them. Cost:
   * O(changes). What fails is left to the next {@linkcode ensure}.
   */
  changePeers(change: SourcesChange): void;

  /**
   * Reads what else on this host drops packets of the network: chains of others, which are not ours to
   * change. No rule in another table can accept what they drop. Cost: one process for each set of
   * iptables and each table of nftables that filters.
   *
   * @param path how packets get in. @default not known: forwarded packets of any device
   * @throws {FirewallError} when the rules cannot be read
   */
  survey(path?: OverlayPath): Promise<FirewallSurvey>;
}

/** The findings of {@linkcode Firewall.survey}. */
export interface FirewallSurvey {
  /** Programs that manage the host's firewall. */
  readonly tools: readonly HostTool[];
  readonly obstacles: readonly Obstacle[];
  /** The part of the overlay's needs that firewalld has; absent when it does not run. */
  readonly firewalld?: FirewalldObjects | undefined;
}

/** Options of `openFirewall`. */
export interface FirewallOptions {
  /** Which tool to use. @default "auto" */
  readonly mode?: FirewallMode;
  /**
   * The network's config asks for nftables (`EnableNFTables`): what `auto` takes where the host
   * has it.
   *
   * @default false
   */
  readonly preferNftables?: boolean;
  /**
   * Sources of peers whose packets arrive without encapsulation. Its owner changes it, and tells
   * {@linkcode Firewall.changePeers}.
   *
   * @default none
   */
  readonly peers?: PeerSources;
  /**
   * An agent runs for the network: `auto` then stays with the tool that it took when it started,
   * whatever was installed since.
   *
   * @default false
   */
  readonly isRunning?: boolean;
  /** Ends commands under way; what they had not committed is not done. @default never */
  readonly signal?: AbortSignal;
  /** Called with the name of each command as it starts. @default nobody */
  readonly onCommand?: ((name: string) => void) | undefined;
  /**
   * Put before every command: `["nsenter", "--net=/run/netns/host1"]` works on the rules of
   * another network namespace.
   *
   * @default []
   */
  readonly commandPrefix?: readonly string[];
  /**
   * Path of the network namespace that netlink works in, the one of `commandPrefix`.
   *
   * @default this process's
   */
  readonly netns?: string;
  /**
   * Directories to find the tools in. @default PATH, then /usr/local/sbin, /usr/sbin and /sbin
   */
  readonly searchPath?: readonly string[];
}
