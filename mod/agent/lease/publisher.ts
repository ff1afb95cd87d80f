import type { Network } from "../../../backends/backend.ts";
import type { NetworkConfig } from "../../config/mod.ts";
import {
  type PreviousSubnet,
  type SubnetEnv,
  subnetVariables,
  writeSubnetEnv,
} from "../../export/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import { info, notifySystemd, warning } from "../../observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../subnet/mod.ts";
import type { OverlayPath, Peer } from "../../firewall/mod.ts";
import { firewallSpec, peersOf } from "../firewall/firewall_spec.ts";
import { FirewallWorker } from "../firewall/firewall_worker.ts";
import type { AgentOptions } from "../core/options.ts";
import type { Warning } from "../core/warning_log.ts";
import { SubnetHook } from "../host/subnet_hook.ts";

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

/** The requests of a {@linkcode Publisher} while a lease is published. */
export interface PublishedState {
  /** All that are known; {@linkcode Publisher.applyPeers} wants their changes. */
  readonly leases: LeaseSet;
  /** How packets get into this host, asked for whenever the host's rules are read. */
  readonly path: () => OverlayPath;
  /** See `TunnelGuard.isStrict`; after a change {@linkcode Publisher.checkFirewall} is due. */
  readonly isSourceStrict: () => boolean;
}

/** The parts of a {@linkcode Publisher}. */
export interface PublisherParts {
  readonly options: PublisherOptions;
  /** The content of subnet.env when the agent started. */
  readonly published: PreviousSubnet;
  /** Called when {@linkcode Publisher.proceed} may have something to do. */
  readonly onProgress: () => void;
  /** Called each time that firewall rules were missing. */
  readonly onDamage: (what: string) => void;
  /** Called with an error that ends the agent. */
  readonly onFailed: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * Tells the rest of the host about the lease: firewall rules, subnet.env, systemd. At a start in that
 * order: who waits for the file or the unit finds everything in place. Later the file does not wait for
 * the rules, and nothing ever waits for them in the agent's inbox.
 */
export class Publisher implements Disposable {
  readonly #options: PublisherOptions;
  readonly #firewall: FirewallWorker;
  #published: PreviousSubnet & { readonly mtu?: number };
  readonly #hook: SubnetHook | undefined;
  /** Whose packets the firewall accepts by their sources; `undefined` where it need not know any. */
  #judge: ((leases: readonly Lease[]) => Peer[]) | undefined;
  /** The lease of a start that waits for its rules. */
  #pending: SubnetEnv | undefined;
  #ready = false;

  constructor({ options, published, onProgress, onDamage, onFailed, signal }: PublisherParts) {
    this.#options = options;
    this.#published = published;
    this.#firewall = new FirewallWorker({
      ...{ options, previous: published, onDamage, onFailed, signal },
      onProgress: () => {
        if (this.#pending !== undefined || options.ipMasq) onProgress();
      },
    });
    const { onSubnetChange } = options;
    if (onSubnetChange !== undefined) this.#hook = new SubnetHook(onSubnetChange, { signal });
  }

  /** What subnet.env says now. */
  get published(): PreviousSubnet {
    return this.#published;
  }

  /** What is wrong with the firewall. */
  get warning(): Warning | undefined {
    return this.#firewall.warning;
  }

  /**
   * True while packets that enter the network by this host get an address of the network; `undefined` while
   * rules that were asked for have not been tried.
   */
  get isMasquerading(): boolean | undefined {
    if (!this.#options.ipMasq) return false;
    return this.#firewall.isAttempted ? this.#firewall.isInPlace : undefined;
  }

  /** True while the firewall drops forged packets, as far as its rules are asked to. */
  get isGuarding(): boolean {
    return this.#firewall.isGuarding;
  }

  /** True once systemd was told READY=1. */
  get isReady(): boolean {
    return this.#ready;
  }

  /**
   * Publishes a lease; at a start, once its rules are in place, {@linkcode proceed} does.
   *
   * @throws {Error} when the file cannot be written
   */
  async publish(
    config: NetworkConfig,
    lease: Lease,
    network: Pick<Network, "mtu" | "ingress" | "sourceCheck">,
    { leases, path, isSourceStrict }: PublishedState,
  ): Promise<void> {
    const { mtu } = network;
    const now: SubnetEnv = {
      network: config.network,
      subnet: lease.subnet,
      mtu,
      ipMasq: this.#options.ipMasq,
    };
    const spec = firewallSpec(this.#options, now, network, isSourceStrict);
    this.#judge = spec.ingress?.underlay === undefined
      ? undefined
      : (some) => peersOf(some, config, lease);
    const peers = this.#judge?.([...leases.values()]) ?? [];
    this.#firewall.request({ spec, preferNftables: config.enableNFTables, path }, peers);
    if (this.#ready) await this.#write(now);
    else this.#pending = now;
  }

  /**
   * Publishes the lease of a start whose rules are in place. With masquerading they have to be: containers
   * must not start without. Without it a slow tool is not waited for.
   *
   * @returns true when that was done now
   * @throws {FirewallError} when the rules cannot be had, and masquerading or one tool was asked for
   * @throws {Error} when the file cannot be written
   */
  async proceed(): Promise<boolean> {
    const pending = this.#pending;
    if (pending === undefined) return false;
    const { isAttempted, isSlow, failure, warning: active } = this.#firewall;
    const { ipMasq } = this.#options;
    if (failure !== undefined && (failure.isToolMissing || ipMasq)) throw failure.error;
    if (!isAttempted && (ipMasq || !isSlow)) {
      if (active !== undefined) notifySystemd(`STATUS=${active.message}`);
      return false;
    }
    this.#pending = undefined;
    await this.#write(pending);
    return true;
  }

  async #write(now: SubnetEnv): Promise<void> {
    const before = this.#published;
    const { network, subnet, mtu } = now;
    await writeSubnetEnv(this.#options.subnetFile, now);
    this.#published = now;
    const isMoved = before.subnet !== undefined && !before.subnet.equals(subnet);
    if (isMoved) {
      warning(
        `Subnet changed from ${before.subnet} to ${subnet}: restart Docker, whose ` +
          `containers are still on the old one`,
        { subnet, previous: before.subnet },
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
      ...{ file: this.#options.subnetFile, network, subnet, mtu },
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
    const { ipMasq } = this.#options;
    if (!ipMasq) return;
    const spec = { network, subnet: network, ipMasq, forward: false, randomFully: false };
    await this.#firewall.requireTools(spec, enableNFTables);
  }

  /** Takes peers out of what the firewall accepts, and in. Cost: O(changes). */
  applyPeers({ added, removed, changed }: LeaseSetChange): void {
    if (this.#judge === undefined) return;
    this.#firewall.changePeers(
      this.#judge([...removed, ...changed.map(({ before }) => before)]),
      this.#judge([...added, ...changed.map(({ after }) => after)]),
    );
  }

  /** Has the rules checked: what they are asked to do has changed. */
  checkFirewall(): void {
    this.#firewall.check();
  }

  [Symbol.dispose](): void {
    this.#firewall[Symbol.dispose]();
  }
}
