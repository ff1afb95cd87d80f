import type { Backend, Network } from "../../../backends/backend.ts";
import { leaseAttributes } from "../../../backends/lease_attributes.ts";
import { HostRoutes, type HostTables, readHostTables } from "../../../backends/host_routes.ts";
import { loadBackend } from "../../../backends/registry.ts";
import { hideSecrets, type NetworkConfig, unknownKeys } from "../../config/mod.ts";
import type { ExternalInterface } from "../../host/mod.ts";
import type { Prefix } from "../../ip/mod.ts";
import { type Lease, type LeaseAttributes, sameAttributes } from "../../lease/mod.ts";
import { info, notifySystemd, warning } from "../../observe/mod.ts";
import type { NetworkStore } from "../../store/mod.ts";
import { isCompatible, type LeaseSetChange } from "../../subnet/mod.ts";
import type { Netlink } from "../../sys/mod.ts";
import { type HostRegistry, isBesideOthers } from "../host/host_registry.ts";
import type { StoreView } from "./store_view.ts";
import type { LeaseKeeper } from "../lease/keeper.ts";
import { acquireInView } from "../lease/own_entries.ts";
import { overlayPath, peersBeside } from "./overlay_path.ts";
import type { AgentOptions } from "./options.ts";
import { requirePrivilege } from "../host/privilege.ts";
import type { Publisher } from "../lease/publisher.ts";
import type { Repairs } from "./repairs.ts";
import { SourceControl } from "../firewall/source_control.ts";
import type { SourceVerdict } from "../firewall/source_policy.ts";
import type { AgentMetrics } from "../status/agent_metrics.ts";
import { requireUsableNetwork } from "./usable_network.ts";
import { counted } from "../../text/mod.ts";

/** Dependencies of an {@linkcode Overlay}. */
export interface OverlayParts {
  readonly options: Pick<
    AgentOptions,
    "allowedNetworks" | "ipMasq" | "store" | "udp" | "vxlan" | "networkName" | "subnetFile"
  >;
  readonly store: Pick<NetworkStore, "leaseForm">;
  readonly netlink: Netlink;
  readonly known: StoreView;
  readonly keeper: LeaseKeeper;
  readonly publisher: Publisher;
  readonly repairs: Repairs;
  readonly metrics: AgentMetrics;
  readonly registry: HostRegistry;
  /** The network that subnet.env named at start. */
  readonly formerNetwork: Prefix | undefined;
  /** Called when {@linkcode Overlay.applySourcePolicy} is due. */
  readonly onSourcesDue: () => void;
  /** Called when a watch on the kernel ends with an error. */
  readonly onFailed: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** A network that is up: its config and the backend that carries it. */
export interface ActiveNetwork {
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly network: Network;
  readonly attributes: LeaseAttributes;
}

interface Active extends ActiveNetwork {
  readonly watching: AbortController;
}

/**
 * The active network of this host: a config, the backend that carries it, and its lease. A new config or
 * interface replaces the former one while packets flow.
 */
export class Overlay implements AsyncDisposable {
  readonly #parts: OverlayParts;
  /** Networks that were served on this host, the present one included. */
  readonly #served: Prefix[] = [];
  readonly #sources: SourceControl;
  #active: Active | undefined;
  /** Text of the config whose unknown keys were logged last. */
  #reported: string | undefined;
  /** Text of the config that was logged last, so that each new config is logged once. */
  #announced: string | undefined;
  /** The kernel may differ from the desired state: a full sync has failed, or was postponed. */
  #unsynced = false;
  /** A network that failed half-way may have left something in the kernel. */
  #isAbandoned = false;
  /** A bring-up has failed half-way, or a lease could not be published on the host. */
  #unfinished = false;

  constructor(parts: OverlayParts) {
    this.#parts = parts;
    const { known, onSourcesDue } = parts;
    this.#sources = new SourceControl((publicIP) => known.features.of(publicIP), onSourcesDue);
    if (parts.formerNetwork !== undefined) this.#served.push(parts.formerNetwork);
  }

  /** The active network; `undefined` before the first bring-up. */
  get active(): ActiveNetwork | undefined {
    return this.#active;
  }

  /** Whether packets from peers with sources outside the network are refused, and why. */
  get sources(): SourceVerdict | undefined {
    return this.#sources.verdict(this.#parts.publisher.isGuarding);
  }

  /** True when the active network is incomplete, so that another bring-up is due, even of the same config. */
  get isUnfinished(): boolean {
    return this.#unfinished;
  }

  /** Marks the kernel state as unknown: the next {@linkcode repair} syncs all of it. */
  invalidate(): void {
    this.#unsynced = true;
  }

  /**
   * Starts the network of a config, or switches to it from another while packets flow.
   *
   * @throws {NetworkRefusedError | ConfigError | PrivilegeError | StoreError | AcquireError | SysError | FirewallError} and
   * changes nothing that a second call would not put right
   */
  async bringUp(config: NetworkConfig, external: ExternalInterface): Promise<void> {
    const { options, keeper, signal, repairs, onFailed, registry, publisher, netlink } =
      this.#parts;
    const former = this.#active;
    const isNew = former !== undefined && former.config.text !== config.text;
    if (isNew && this.#announced !== config.text) {
      this.#announced = config.text;
      const [previous, shown] = [former.config.text, config.text].map(hideSecrets);
      info(`Network config changed: ${previous} is now ${shown}`, { config: shown, previous });
    }
    const backend = await loadBackend(config.backend.type);
    requirePrivilege(backend, options.ipMasq);
    // Before any change: a host that is cut off from the store would not see the corrected config.
    const tables = readHostTables(netlink);
    await requireUsableNetwork(config.network, { ...options, external, tables });
    const resources = backend.resources?.({ config, external }) ?? [];
    await registry.register({ network: config.network, resources }, signal);
    if (former === undefined) await publisher.requireTools(config);
    await keeper.identify(external.publicIP);
    this.#unfinished = true;
    // Two networks of one backend type may need the same device or port.
    if (former?.config.backend.type === config.backend.type) await former.network.close();
    const active = this.#prepared(
      config,
      external,
      backend,
      await backend.prepare(this.#context(config, external)),
    );
    this.#reportUnknownKeys(config);
    const { network, attributes } = active;
    const held = keeper.lease;
    // Watch before the first dump: damage between the dump and the end of this step would otherwise stay
    // unnoticed for five minutes.
    network.run(active.watching.signal, (what) => repairs.request(what)).catch(onFailed);
    try {
      // Only the device is new: do not wait for the store, which may be reached through this network.
      if (
        held !== undefined && former?.config.text === config.text &&
        isCompatible(config, held.subnet) && sameAttributes(held.attributes, attributes)
      ) await this.#program(active, held);
      else await this.#lease(active, tables);
    } catch (error) {
      // Its kernel objects are removed with the next network that starts, see #removeOld().
      this.#isAbandoned = true;
      this.#noteServed(config.network);
      // The next attempt prepares the backend again, and must not find this one's device in use.
      active.watching.abort();
      await network.close();
      throw error;
    }
    former?.watching.abort();
    this.#active = active;
    this.#unfinished = false;
    await this.#succeed(former, active);
  }

  /** Acquires a lease for the active network in place of a lost one. */
  async leaseAgain(): Promise<void> {
    const active = this.#active;
    if (active !== undefined) await this.#lease(active, readHostTables(this.#parts.netlink));
  }

  /** Syncs all kernel objects of the active network, if that is due and the interface is the same. */
  async repair(external: ExternalInterface): Promise<void> {
    if (this.#unsynced && this.#active?.external === external) await this.#sync();
  }

  /** Applies a change of the peers to the kernel, unless a full sync is due anyway. */
  async apply(change: LeaseSetChange, external: ExternalInterface): Promise<void> {
    this.#parts.publisher.applyPeers(change);
    this.#sources.apply(change);
    const active = this.#active;
    if (active === undefined || this.#unsynced || active.external !== external) return;
    this.#unsynced = true;
    const refused = await this.#parts.metrics.reconcile(
      "change",
      () => active.network.apply(change),
    );
    this.#unsynced = false;
    if (refused > 0) this.#parts.repairs.retry();
    this.reportStatus();
  }

  /** Reports lease and peers to systemd. */
  reportStatus(): void {
    const { lease } = this.#parts.keeper;
    if (this.#active !== undefined && lease !== undefined) notifyStatus(this.#active, lease);
  }

  /** Applies changed features of other hosts to the kernel. */
  async applyFeatures(): Promise<void> {
    const { known, repairs } = this.#parts;
    const changed = known.features.takeChanged();
    this.#sources.featuresChanged(changed);
    // A full sync reads the features again.
    if (changed.size === 0 || this.#active === undefined || this.#unsynced) return;
    this.#unsynced = true;
    const refused = await this.#active.network.featuresChanged?.(changed) ?? 0;
    this.#unsynced = false;
    if (refused > 0) repairs.retry();
  }

  /**
   * Applies to data path and firewall whether sources outside the network are refused, if that has changed.
   *
   * @param when see {@linkcode SourceControl.decide}
   */
  async applySourcePolicy(when: "now" | "delayed"): Promise<void> {
    const { publisher, repairs } = this.#parts;
    if (this.#active === undefined || !this.#sources.decide(when)) return;
    this.#sources.report(publisher.isGuarding);
    // A sync that is due reads it anyway.
    if (!this.#unsynced) {
      this.#unsynced = true;
      const refused = await this.#active.network.sourceStrictnessChanged?.() ?? 0;
      this.#unsynced = false;
      if (refused > 0) repairs.retry();
    }
    publisher.checkFirewall();
  }

  /** Ends the network's work in this process; its kernel objects stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#sources[Symbol.dispose]();
    this.#active?.watching.abort();
    await this.#active?.network.close();
  }

  /** Logs unknown keys once for each config, after the backend has read its own keys. */
  #reportUnknownKeys(config: NetworkConfig): void {
    if (this.#reported === config.text) return;
    this.#reported = config.text;
    for (const line of unknownKeys(config)) warning(`Network config: ${line}`);
  }

  /** Removes the objects of the former network: of this run, of the run before, or of a start that failed. */
  async #succeed(former: Active | undefined, active: Active): Promise<void> {
    if (former === undefined || this.#isAbandoned) await this.#removeOld(active);
    this.#isAbandoned = false;
    if (former !== undefined && !isOneDevice(former, active)) {
      // Both backends may have made the same routes: after the removal add them again.
      this.invalidate();
      await former.network.remove(active.network.status());
      await this.#sync();
    }
    this.#noteServed(active.config.network);
  }

  #noteServed(network: Prefix): void {
    if (!this.#served.some((prefix) => prefix.equals(network))) this.#served.push(network);
  }

  /** Removes devices of a backend or a network that were given up while no agent ran. */
  async #removeOld({ network, config }: Active): Promise<void> {
    const networks = this.#withoutOthers([...this.#served, config.network]);
    if (this.#served.length === 0) return;
    const devices = [network, this.#active?.network].map((one) => one?.status().device);
    // Imports every backend, eBPF included: a host that starts for the first time does without.
    const { findStaleState } = await import("../../../backends/stale_state.ts");
    const old = await findStaleState(this.#parts.netlink, networks, {
      besideOthers: true,
      keep: devices,
    });
    for (const { kind, what, remove } of old) {
      // The backend reconciles the routes of these networks itself.
      if (kind === "route") continue;
      try {
        remove();
        info(`Removed ${what}, which is not used any more`);
      } catch (error) {
        warning(`Cannot remove ${what}: ${(error as Error).message}`);
      }
    }
  }

  /** Leaves out networks that overlap another agent's, which may have taken over a former range. */
  #withoutOthers(networks: readonly Prefix[]): Prefix[] {
    const { others } = this.#parts.registry;
    return networks.filter((one) => !others.some((other) => other.overlaps(one)));
  }

  #context(config: NetworkConfig, external: ExternalInterface) {
    const { options, netlink, known, registry, signal } = this.#parts;
    const formerNetworks = () => this.#withoutOthers(this.#served);
    return {
      ...{ config, external, netlink, signal },
      besideOthers: isBesideOthers(options, registry.others),
      udp: options.udp,
      vxlan: options.vxlan,
      isSourceStrict: () => this.#sources.isStrict,
      featuresOf: (publicIP: number) => known.features.of(publicIP),
      get formerNetworks() {
        return formerNetworks();
      },
      formerData: this.#formerData(external),
    };
  }

  #prepared(
    config: NetworkConfig,
    external: ExternalInterface,
    backend: Backend,
    network: Network,
  ): Active {
    return {
      ...{ config, external, network },
      attributes: leaseAttributes(backend, network, external, this.#parts.store.leaseForm),
      watching: new AbortController(),
    };
  }

  /** Returns the `BackendData` under which peers know this host. */
  #formerData({ publicIP }: ExternalInterface): Lease["attributes"]["backendData"] {
    const { keeper, known } = this.#parts;
    if (keeper.lease !== undefined) return keeper.lease.attributes.backendData;
    if (!keeper.knowsFormerLease) return undefined;
    return known.leaseOf(publicIP)?.attributes.backendData;
  }

  /** Acquires a lease for a network, programs the peers and publishes the lease on the host. */
  async #lease(active: Active, tables: HostTables): Promise<void> {
    const { known, keeper, publisher } = this.#parts;
    const { config, external, network, attributes } = active;
    const host = new HostRoutes(config.network);
    host.load(tables);
    const { subnet: former } = publisher.published;
    const lease = await acquireInView(keeper, known, config, attributes, {
      previous: former,
      foreignLeaseReason: network.foreignLeaseReason?.bind(network),
      unusable: host.unusable({
        subnetLen: config.subnetLen,
        former: former === undefined ? [] : [former],
        external: external.index,
      }),
    });
    await this.#program(active, lease);
  }

  /** Programs all peers and publishes the lease on the host. */
  async #program(active: Active, lease: Lease): Promise<void> {
    this.#unfinished = true;
    const { netlink, known, publisher } = this.#parts;
    const scope = { check: active.network.sourceCheck, config: active.config, own: lease };
    this.#sources.begin(scope, known.leases.values());
    await this.#synchronize(active, lease);
    await publisher.publish(active.config, lease, active.network, {
      leases: known.leases,
      isSourceStrict: () => this.#sources.isStrict,
      path: () =>
        overlayPath({
          ...{ ingress: active.network.ingress, external: active.external, netlink },
          ...{ subnet: lease.subnet, peers: peersBeside(lease, known.leases.values()) },
        }),
    });
    this.#sources.report(publisher.isGuarding);
    this.#unfinished = false;
    notifyStatus(active, lease);
  }

  async #sync(): Promise<void> {
    const { lease } = this.#parts.keeper;
    if (this.#active !== undefined && lease !== undefined) {
      await this.#synchronize(this.#active, lease);
    }
  }

  async #synchronize({ config, network }: Active, lease: Lease): Promise<void> {
    const { known, repairs, metrics, registry, signal } = this.#parts;
    this.#unsynced = true;
    // Another agent may have started in a range that this one served before.
    if (this.#served.some((served) => !served.equals(config.network))) {
      await registry.refresh(signal);
    }
    repairs.done(await metrics.reconcile("sync", () => network.sync(lease, known.leases)));
    this.#unsynced = false;
  }
}

function notifyStatus({ config, network }: ActiveNetwork, lease: Lease): void {
  const { device, peers } = network.status();
  notifySystemd(
    `STATUS=Lease ${lease.subnet}, ${config.backend.type}${device ? ` on ${device}` : ""}, ` +
      counted(peers, "peer"),
  );
}

/** Returns whether the later network uses the device of the earlier one. */
function isOneDevice(before: ActiveNetwork, after: ActiveNetwork): boolean {
  return before.config.backend.type === after.config.backend.type &&
    before.network.status().device === after.network.status().device;
}
