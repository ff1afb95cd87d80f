import type { Backend, BackendContext, Inspection, Tunnel } from "../../backends/backend.ts";
import type { DiffLine } from "../../backends/describe.ts";
import { readHostTables } from "../../backends/host_routes.ts";
import { loadBackend } from "../../backends/registry.ts";
import { routeTo } from "../../backends/steps.ts";
import { PeerFeatures } from "../agent/core/peer_features.ts";
import { isBesideOthers, readOthers } from "../agent/host/host_registry.ts";
import { isAgentRunning } from "../agent/host/host_lock.ts";
import { type LeaseElsewhere, leaseElsewhere } from "../agent/lease/elsewhere.ts";
import { type AgentPlan, planAgent } from "../agent/commands/plan.ts";
import type { AgentOptions } from "../agent/core/options.ts";
import { NetworkRefusedError, requireUsableNetwork } from "../agent/core/usable_network.ts";
import { ConfigError, decodeNetworkConfig, type NetworkConfig } from "../config/mod.ts";
import { type PreviousSubnet, readSubnetEnv } from "../export/mod.ts";
import { examineInterface, type InterfaceChoice, InterfaceError } from "../host/mod.ts";
import type { ExternalInterface } from "../host/mod.ts";
import type { Prefix } from "../ip/mod.ts";
import type { Lease } from "../lease/mod.ts";
import { Prober } from "../probe/mod.ts";
import { type NetworkStore, type Snapshot, StoreError } from "../store/mod.ts";
import { openStore } from "../store/open.ts";
import { Netlink } from "../sys/mod.ts";
import { Unavailable } from "./unavailable.ts";
import { sleep } from "../async/sleep.ts";
import { isTimeout } from "../async/timeout.ts";
import type { PeerLease } from "./peers.ts";

/** Limit for the store, in milliseconds. */
const STORE_LIMIT = 10_000;

/** Within this time an agent has applied a change of the store, firewall included, also on a busy host; in ms. */
const SETTLE = 2_000;

/** Outcome of the search for the store. */
export type StoreSearch =
  | { readonly store: NetworkStore; readonly note: string }
  /** etcd answers, but neither of its stores holds a config. */
  | { readonly waiting: string }
  | { readonly error: Error };

/** Changes that the agent would make, by subject. */
export interface PlannedChanges {
  /** Device, addresses, routes, neighbours, FDB entries. */
  readonly kernel: readonly DiffLine[];
  readonly firewall: readonly DiffLine[];
  readonly obstacles: AgentPlan["obstacles"];
  readonly tools: AgentPlan["tools"];
  readonly toolCommands: AgentPlan["toolCommands"];
}

/**
 * Facts about this host and its network. Each is read once, when it is first needed; a fact that cannot be read throws
 * {@linkcode Unavailable} in each check that needs it.
 */
export class HostFacts implements AsyncDisposable {
  readonly options: AgentOptions;
  readonly netlink: Netlink;
  readonly signal: AbortSignal;
  readonly #facts = new Map<string, Promise<unknown>>();
  readonly #opened = new AsyncDisposableStack();

  constructor(options: AgentOptions, signal: AbortSignal) {
    this.options = options;
    this.signal = signal;
    this.netlink = this.#opened.use(Netlink.open());
  }

  /** Searches for the store. */
  storeSearch(): Promise<StoreSearch> {
    return this.remember("store", async (): Promise<StoreSearch> => {
      const limit = this.#storeLimit();
      try {
        const found = await openStore(this.options.store, { signal: limit, readOnly: true });
        if (!("store" in found)) return found;
        this.#opened.use(found.store);
        // Some adapters connect with the first call.
        await this.remember("snapshot", () => found.store.snapshot({ signal: limit }));
        return found;
      } catch (error) {
        this.signal.throwIfAborted();
        if (isTimeout(error)) {
          return { error: new StoreError(`no answer within ${STORE_LIMIT / 1000} s`) };
        }
        if (error instanceof StoreError || error instanceof ConfigError) return { error };
        throw error;
      }
    });
  }

  /** Returns the store that holds the config. */
  async store(): Promise<NetworkStore> {
    const found = await this.storeSearch();
    if ("store" in found) return found.store;
    throw new Unavailable("error" in found ? "the store is not reached" : "there is no config");
  }

  /** Returns its contents. */
  async snapshot(): Promise<Snapshot> {
    const store = await this.store();
    return await this.remember("snapshot", () => store.snapshot({ signal: this.#storeLimit() }));
  }

  /** Returns the network config. */
  async config(): Promise<NetworkConfig> {
    const { config } = await this.snapshot();
    if (!("text" in config)) throw new Unavailable("there is no config");
    return await this.remember("config", async () => {
      try {
        return await decodeNetworkConfig(config.text);
      } catch (error) {
        if (error instanceof ConfigError) throw new Unavailable("the config cannot be used");
        throw error;
      }
    });
  }

  /**
   * Returns the interface that the agent takes.
   *
   * @throws {InterfaceError} when none fits
   */
  interfaceChoice(): InterfaceChoice {
    return examineInterface(this.options.interface, this.netlink);
  }

  /** Returns the interface that carries packets between hosts. */
  external(): ExternalInterface {
    try {
      return this.interfaceChoice().external;
    } catch (error) {
      if (error instanceof InterfaceError) throw new Unavailable("there is no interface to use");
      throw error;
    }
  }

  /** Returns why the agent refuses the network on this host; `undefined` when it does not. */
  async networkRefusal(): Promise<string | undefined> {
    const { network } = await this.config();
    const [external, tables] = [this.external(), readHostTables(this.netlink)];
    try {
      await requireUsableNetwork(network, { ...this.options, external, tables });
      return undefined;
    } catch (error) {
      if (error instanceof NetworkRefusedError) return error.message;
      throw error;
    }
  }

  /** Returns the backend of the config. */
  async backend(): Promise<Backend> {
    const { backend: { type } } = await this.config();
    return await this.remember("backend", () => usable(() => loadBackend(type)));
  }

  /** Returns the network as its backend has it on this host. */
  async inspection(): Promise<Inspection> {
    const [backend, config, former] = [
      ...[await this.backend(), await this.config(), await this.subnetEnv()] as const,
    ];
    const features = new PeerFeatures();
    features.replace((await this.snapshot()).agents);
    const context: BackendContext = {
      ...{ config, external: this.external(), netlink: this.netlink, udp: this.options.udp },
      formerNetworks: former.network === undefined ? [] : [former.network],
      besideOthers: isBesideOthers(this.options, await this.others()),
      featuresOf: (publicIP) => features.of(publicIP),
    };
    return await this.remember("inspection", () => usable(() => backend.inspect(context)));
  }

  /** Returns how packets between hosts are carried. */
  async tunnel(): Promise<Tunnel> {
    return (await this.inspection()).tunnel;
  }

  /**
   * Passes where the backend carries packets.
   *
   * @throws {Unavailable} where it does not
   */
  async requireCarrier(): Promise<void> {
    const { type, carriesPackets = true } = await this.backend();
    if (!carriesPackets) throw new Unavailable(`${type} carries no packets`);
  }

  /** Returns the lease with this host's public IP that fits the config. */
  async ownLease(): Promise<Lease | undefined> {
    const [{ leases }, { network }] = [await this.snapshot(), await this.config()];
    const { publicIP } = this.external();
    const { subnet } = await this.subnetEnv();
    const own = leases.filter(({ attributes, subnet }) =>
      attributes.publicIP === publicIP && network.containsPrefix(subnet)
    );
    return own.find((lease) => subnet !== undefined && lease.subnet.equals(subnet)) ?? own[0];
  }

  /** Returns the lease that this host holds by another interface, where the chosen one has none. */
  async leaseElsewhere(): Promise<LeaseElsewhere | undefined> {
    const [{ leases }, { network }] = [await this.snapshot(), await this.config()];
    const { subnet } = await this.subnetEnv();
    const inNetwork = leases.filter((lease) => network.containsPrefix(lease.subnet));
    return leaseElsewhere(inNetwork, this.external(), this.netlink, subnet);
  }

  /**
   * Passes where an agent runs or ran here: only then can its objects be missing.
   *
   * @throws {Unavailable} when none has
   */
  async requireAgent(): Promise<void> {
    if ((await this.subnetEnv()).subnet !== undefined || await this.ownLease() !== undefined) {
      return;
    }
    if (await isAgentRunning(this.options.subnetFile)) return;
    throw new Unavailable("no flanneld has run here yet");
  }

  /** Returns the contents of subnet.env. */
  subnetEnv(): Promise<PreviousSubnet> {
    return this.remember("subnet.env", () => readSubnetEnv(this.options.subnetFile));
  }

  /** Returns the networks that other running agents serve on this host. */
  others(): Promise<readonly Prefix[]> {
    return this.remember("others", () => readOthers(this.options.subnetFile, this.signal));
  }

  /** Returns the other hosts' leases, with the reason where one is refused. */
  async peers(): Promise<readonly PeerLease[]> {
    const own = await this.ownLease();
    if (own === undefined) throw new Unavailable("this host holds no lease");
    const { leases, agents } = await this.snapshot();
    const { refusal } = await this.inspection();
    const records = new Map(agents.map((agent) => [agent.publicIP, agent]));
    return leases.filter(({ subnet }) => !subnet.equals(own.subnet)).map((lease) => ({
      lease,
      agent: records.get(lease.attributes.publicIP),
      refused: refusal(lease, own),
    }));
  }

  /** Returns the changes that the agent would make on this host now. */
  async plan(): Promise<PlannedChanges> {
    await this.backend();
    this.external();
    const { changes, obstacles, tools, toolCommands, provider }: AgentPlan = await this.remember(
      "plan",
      () => this.#lastingPlan(),
    );
    const firewall = changes.filter(({ text }) => text.startsWith("firewall "));
    const others = /^(firewall|lease|node record|file) /;
    return {
      firewall,
      kernel: changes.filter((line) => !others.test(line.text) && !provider.changes.includes(line)),
      ...{ obstacles, tools, toolCommands },
    };
  }

  /** Returns a prober, which sends echo requests. */
  async prober(): Promise<Prober> {
    return await this.remember("prober", () => Promise.resolve(this.#opened.use(Prober.open())));
  }

  /** Returns how the kernel would send to an address; `undefined`: no route. */
  routeTo(address: number): ReturnType<typeof routeTo> {
    return routeTo(this.netlink, address);
  }

  /**
   * Reads a fact at the first call; later calls return the same.
   *
   * @param fact its name, one for each `find`
   */
  remember<T>(fact: string, find: () => Promise<T>): Promise<T> {
    let found = this.#facts.get(fact);
    if (found === undefined) this.#facts.set(fact, found = find());
    return found as Promise<T>;
  }

  /** Closes store and sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }

  /** Plans again where a running agent would change something: it may be about to, after a change of the store. */
  async #lastingPlan(): Promise<AgentPlan> {
    const start = performance.now();
    const plan = await planAgent(this.options, this.signal);
    if (plan.changes.length === 0 || !await isAgentRunning(this.options.subnetFile)) return plan;
    // The plan began with the store; an agent that does not answer delays it by 2 s.
    await sleep(start + SETTLE - performance.now(), this.signal);
    return await planAgent(this.options, this.signal);
  }

  #storeLimit(): AbortSignal {
    return AbortSignal.any([this.signal, AbortSignal.timeout(STORE_LIMIT)]);
  }
}

/** Returns the result of a reader. @throws {Unavailable} when the config cannot be used */
async function usable<T>(read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ConfigError) throw new Unavailable("the config cannot be used");
    throw error;
  }
}
