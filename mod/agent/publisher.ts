import type { Network } from "../../backends/backend.ts";
import type { NetworkConfig } from "../config/mod.ts";
import {
  type PreviousSubnet,
  type SubnetEnv,
  subnetVariables,
  writeSubnetEnv,
} from "../export/mod.ts";
import {
  describeObstacle,
  type Firewall,
  FirewallError,
  type FirewallSpec,
  openFirewall,
  type OverlayPath,
  type Peer,
  PeerSources,
} from "../firewall/mod.ts";
import type { Lease } from "../lease/mod.ts";
import { info, notifySystemd, warning } from "../observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../subnet/mod.ts";
import { monitorRuleset } from "../sys/mod.ts";
import { Backoff } from "./backoff.ts";
import { reportDocker } from "./docker_report.ts";
import { firewallSpec, peersOf, previousNetwork } from "./firewall_spec.ts";
import type { AgentOptions } from "./options.ts";
import { StateLog, type Trouble } from "./state_log.ts";
import { SubnetHook } from "./subnet_hook.ts";
import { Timer } from "./timer.ts";

/** A check runs the firewall's tool, which costs 10 ms or more; others may change rules all the time. */
const TIMES = { shortest: 100, longest: 800, calm: 10_000 };

/** One line a minute, in milliseconds. */
const REPEAT = 60_000;

/** The part of the options that is about this host's surroundings. */
export type PublisherOptions = Pick<
  AgentOptions,
  | "subnetFile"
  | "networkName"
  | "onSubnetChange"
  | "firewall"
  | "ipMasq"
  | "forwardRules"
  | "dockerRules"
  | "iptablesResync"
  | "masqRandomFullyDisable"
>;

/**
 * Tells the rest of the host about the lease: firewall rules, subnet.env, systemd. In that order:
 * who waits for the file or the unit finds everything in place.
 */
export class Publisher implements Disposable {
  readonly #options: PublisherOptions;
  readonly #signal: AbortSignal;
  readonly #onDamage: (what: string) => void;
  readonly #resync: Timer;
  /** Set when others have changed rules, which may have been ours. */
  readonly #soon: Timer;
  readonly #backoff = new Backoff(TIMES);
  readonly #firewallState = new StateLog();
  #published: PreviousSubnet & { readonly mtu?: number };
  readonly #hook: SubnetHook | undefined;
  #firewall: Firewall | undefined;
  readonly #peers = new PeerSources();
  /** Whose packets the firewall accepts by their sources; `undefined` where it need not know any. */
  #judge: ((leases: readonly Lease[]) => Peer[]) | undefined;
  #path: (() => OverlayPath) | undefined;
  /** Obstacles that were logged; `undefined` before the rules of others were read. */
  #obstacles: readonly string[] | undefined;
  /** When they were read, by `performance.now()`. */
  #surveyed = -Infinity;
  /** Others have changed rules since. */
  #isChanged = false;
  #ready = false;
  #watching = false;
  #toldRepair = -Infinity;

  /**
   * @param published what subnet.env said when the agent started
   * @param onResync called when the firewall rules are due for a check
   * @param onDamage told of rules that were missing, each time
   */
  constructor(
    options: PublisherOptions,
    published: PreviousSubnet,
    onResync: () => void,
    signal: AbortSignal,
    onDamage: (what: string) => void = () => {},
  ) {
    this.#onDamage = onDamage;
    this.#options = options;
    this.#published = published;
    this.#resync = new Timer(onResync);
    this.#soon = new Timer(() => {
      this.#backoff.answered();
      onResync();
    });
    this.#signal = signal;
    const { onSubnetChange } = options;
    if (onSubnetChange !== undefined) this.#hook = new SubnetHook(onSubnetChange, { signal });
  }

  /** What subnet.env says now. */
  get published(): PreviousSubnet {
    return this.#published;
  }

  /** What is wrong with the firewall. */
  get trouble(): Trouble | undefined {
    return this.#firewallState.current;
  }

  /** True once systemd was told READY=1. */
  get isReady(): boolean {
    return this.#ready;
  }

  /**
   * Publishes a lease.
   *
   * @param leases all that are known; {@linkcode applyPeers} wants their changes
   * @param path how packets get into this host, asked for whenever the host's rules are read
   * @throws {FirewallError} when masquerading was asked for and cannot be had, before anything was
   * published
   * @throws {Error} when the file cannot be written
   */
  async publish(
    config: NetworkConfig,
    lease: Lease,
    { mtu, ingress }: Pick<Network, "mtu" | "ingress">,
    leases: LeaseSet,
    path: () => OverlayPath,
  ): Promise<void> {
    this.#path = path;
    const before = this.#published;
    const now: SubnetEnv = {
      network: config.network,
      subnet: lease.subnet,
      mtu,
      ipMasq: this.#options.ipMasq,
    };
    const spec = firewallSpec(this.#options, now, ingress);
    this.#judge = spec.ingress?.underlay === undefined
      ? undefined
      : (some) => peersOf(some, config, lease);
    this.#peers.replace(this.#judge?.([...leases.values()]) ?? []);
    await this.#openFirewall(spec, before, config);
    await writeSubnetEnv(this.#options.subnetFile, now);
    this.#published = now;
    const isMoved = before.subnet !== undefined && !before.subnet.equals(lease.subnet);
    if (isMoved) {
      warning(
        `Subnet changed from ${before.subnet} to ${lease.subnet}: restart Docker, whose ` +
          `containers are still on the old one`,
        { subnet: lease.subnet, previous: before.subnet },
      );
    }
    if (before.mtu !== undefined && before.mtu !== mtu) {
      warning(
        `MTU changed from ${before.mtu} to ${mtu}: restart Docker, whose containers still send ` +
          `packets of the old size`,
        { mtu, previous: before.mtu },
      );
    }
    info(`Wrote subnet file to ${this.#options.subnetFile}`, {
      ...{ file: this.#options.subnetFile, network: config.network, subnet: lease.subnet, mtu },
    });
    notifySystemd("READY=1");
    this.#ready = true;
    if (isMoved) {
      this.#hook?.run({
        ...subnetVariables(now),
        FLANNEL_PREVIOUS_SUBNET: String(before.subnet),
      });
    }
  }

  /**
   * Finds out that the host has a tool for the rules, before there is a device or a lease.
   *
   * @throws {FirewallError} when masquerading was asked for and it has none
   */
  async requireTools({ network, enableNFTables }: NetworkConfig): Promise<void> {
    const { firewall: mode, ipMasq } = this.#options;
    if (!ipMasq) return;
    const spec = { network, subnet: network, ipMasq, forward: false, randomFully: false };
    await openFirewall(spec, undefined, {
      ...{ signal: this.#signal, mode, preferNftables: enableNFTables },
    });
  }

  async #openFirewall(
    spec: FirewallSpec,
    before: PreviousSubnet,
    { enableNFTables }: NetworkConfig,
  ): Promise<void> {
    const { firewall: mode, ipMasq } = this.#options;
    this.#firewall = await openFirewall(spec, previousNetwork(before), {
      ...{ signal: this.#signal, mode, preferNftables: enableNFTables, peers: this.#peers },
    });
    this.#watchRules();
    await this.checkFirewall(this.#ready || !ipMasq);
  }

  /** Takes peers out of what the firewall accepts, and in. Cost: O(changes). */
  applyPeers({ added, removed, changed }: LeaseSetChange): void {
    if (this.#judge === undefined) return;
    const change = this.#peers.change(
      this.#judge([...removed, ...changed.map(({ before }) => before)]),
      this.#judge([...added, ...changed.map(({ after }) => after)]),
    );
    this.#firewall?.changePeers(change);
  }

  /** Has rules looked at soon after somebody changed some. */
  #watchRules(): void {
    if (this.#watching) return;
    this.#watching = true;
    const watch = async () => {
      for await (const _ of monitorRuleset({ signal: this.#signal })) {
        this.#isChanged = true;
        if (!this.#soon.isSet) this.#soon.set(this.#backoff.delay);
      }
    };
    watch().catch((error: Error) => {
      const { iptablesResync } = this.#options;
      info(`Firewall rules are looked at every ${iptablesResync} s only: ${error.message}`);
    });
  }

  /**
   * Puts missing firewall rules back.
   *
   * @param tolerant log what fails instead of throwing it
   */
  async checkFirewall(tolerant = true): Promise<void> {
    if (this.#firewall === undefined) return;
    this.#soon.clear();
    try {
      const result = await this.#firewall.ensure();
      if (result === "applied" || this.#obstacles === undefined) reportDocker(this.#signal);
      if (result === "applied") info(`Firewall rules in place (${this.#firewall.description})`);
      if (result === "repaired") this.#tellRepair();
      const isDue = this.#isChanged && performance.now() - this.#surveyed > REPEAT;
      if (result !== "unchanged" || this.#obstacles === undefined || isDue) await this.#survey();
      if (this.#firewallState.clear()) info("The firewall works again");
    } catch (cause) {
      this.#signal.throwIfAborted();
      if (!tolerant || !(cause instanceof FirewallError)) throw cause;
      this.#firewallState.trouble(`failed to set up the firewall: ${cause.message}`);
    }
    this.#resync.set(this.#options.iptablesResync * 1000);
  }

  /** Once a minute, whoever goes on deleting. */
  #tellRepair(): void {
    this.#onDamage("firewall rules were missing");
    const now = performance.now();
    if (now - this.#toldRepair < REPEAT) return;
    this.#toldRepair = now;
    warning("Firewall rules were missing and have been put back", { object: "firewall rules" });
  }

  /** Logs, once of each, what else drops the network's packets. */
  async #survey(): Promise<void> {
    this.#isChanged = false;
    this.#surveyed = performance.now();
    const { obstacles } = await this.#firewall!.survey(this.#path?.());
    const lines = obstacles.map(describeObstacle);
    for (const line of lines) if (!this.#obstacles?.includes(line)) warning(line);
    this.#obstacles = lines;
  }

  [Symbol.dispose](): void {
    this.#resync.clear();
    this.#soon.clear();
  }
}
