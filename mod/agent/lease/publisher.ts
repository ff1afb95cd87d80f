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

/** The options about this host's firewall, files and command. */
export type PublisherOptions = Pick<
  AgentOptions,
  | "subnetFile"
  | "networkName"
  | "onSubnetChange"
  | "firewall"
  | "ipMasq"
  | "forwardRules"
  | "dockerRules"
  | "dockerPlugin"
  | "iptablesResync"
  | "masqRandomFullyDisable"
>;

/** State that a {@linkcode Publisher} reads while a lease is published. */
export interface PublishedState {
  /** All leases; pass their changes to {@linkcode Publisher.applyPeers}. */
  readonly leases: LeaseSet;
  /** Returns how packets enter this host; called at each check of the host's rules. */
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
 * Publishes the lease on the host: firewall rules, subnet.env and systemd, at a start in this order, so
 * that programs which wait for the file or the unit find everything in place. Later changes of the file do
 * not wait for the rules. The agent's inbox never waits for them.
 */
export class Publisher implements Disposable {
  readonly #options: PublisherOptions;
  readonly #firewall: FirewallWorker;
  #published: PreviousSubnet & { readonly mtu?: number };
  readonly #hook: SubnetHook | undefined;
  /** Selects the peers whose packets the firewall accepts by source; `undefined` when it needs no peers. */
  #peersFrom: ((leases: readonly Lease[]) => Peer[]) | undefined;
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

  /** Present content of subnet.env. */
  get published(): PreviousSubnet {
    return this.#published;
  }

  /** The active problem of the firewall. */
  get warning(): Warning | undefined {
    return this.#firewall.warning;
  }

  /**
   * True while this host masquerades packets that enter the network; `undefined` until the first attempt at
   * the rules has ended.
   */
  get isMasquerading(): boolean | undefined {
    if (!this.#options.ipMasq) return false;
    return this.#firewall.isAttempted ? this.#firewall.isInPlace : undefined;
  }

  /** True while the firewall has the requested rules against forged packets. */
  get isGuarding(): boolean {
    return this.#firewall.isGuarding;
  }

  /** True once READY=1 was sent to systemd. */
  get isReady(): boolean {
    return this.#ready;
  }

  /**
   * Publishes a lease. At a start only requests its rules; {@linkcode proceed} then publishes it.
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
    this.#peersFrom = spec.ingress?.underlay === undefined
      ? undefined
      : (some) => peersOf(some, config, lease);
    const peers = this.#peersFrom?.([...leases.values()]) ?? [];
    this.#firewall.request({ spec, preferNftables: config.enableNFTables, path }, peers);
    if (this.#ready) await this.#write(now);
    else this.#pending = now;
  }

  /**
   * Publishes the lease of a start once its rules are in place. Does not wait for a slow tool, except with
   * masquerading: containers must not start without it.
   *
   * @returns true when this call has published the lease
   * @throws {FirewallError} when the rules cannot be made, and masquerading or a certain tool was requested
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
    // Docker's own bridge keeps its range and MTU; the plugin's bridges take the present ones.
    const restart = this.#options.dockerPlugin
      ? "restart the containers of Docker's flannel networks, which"
      : "restart Docker, whose containers";
    const isMoved = before.subnet !== undefined && !before.subnet.equals(subnet);
    if (isMoved) {
      warning(
        `Subnet changed from ${before.subnet} to ${subnet}: ${restart} are still on the old one`,
        { subnet, previous: before.subnet },
      );
    }
    if (before.mtu !== undefined && before.mtu !== mtu) {
      warning(
        `MTU changed from ${before.mtu} to ${mtu}: ${restart} still send packets of the old size`,
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
   * Checks that the host has a tool for the rules, before the device or the lease exists.
   *
   * @throws {FirewallError} when masquerading was requested and there is none
   */
  async requireTools({ network, enableNFTables }: NetworkConfig): Promise<void> {
    const { ipMasq } = this.#options;
    if (!ipMasq) return;
    const spec = { network, subnet: network, ipMasq, forward: false, randomFully: false };
    await this.#firewall.requireTools(spec, enableNFTables);
  }

  /** Applies a change of the peers whose packets the firewall accepts by source. Cost: O(changes). */
  applyPeers({ added, removed, changed }: LeaseSetChange): void {
    if (this.#peersFrom === undefined) return;
    this.#firewall.changePeers(
      this.#peersFrom([...removed, ...changed.map(({ before }) => before)]),
      this.#peersFrom([...added, ...changed.map(({ after }) => after)]),
    );
  }

  /** Checks the rules soon, after a change of the request. */
  checkFirewall(): void {
    this.#firewall.check();
  }

  [Symbol.dispose](): void {
    this.#firewall[Symbol.dispose]();
  }
}
