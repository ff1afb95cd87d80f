import { sleep } from "../../async/sleep.ts";
import { error as logError, info, warning } from "../../observe/mod.ts";
import { openScopes, type RunInScope } from "../../observe/log/scope.ts";
import { notifyOfProcess, notifySystemd } from "../../observe/systemd.ts";
import { linkedSignal } from "../../store/deadline.ts";
import { StoreError } from "../../store/mod.ts";
import { isRefusal } from "../../sys/mod.ts";
import { Backoff } from "../core/backoff.ts";
import { cleanUp } from "../commands/cleanup.ts";
import { type NetworkFeed, networkFeed } from "./feed.ts";
import { optionsOfNetwork, subnetFiles } from "./options.ts";
import { NetworksReadiness } from "./readiness.ts";
import type { AgentOptions, NetworksOptions } from "../core/options.ts";
import { PrivilegeError } from "../host/privilege.ts";
import { serveNetwork, type ServeOptions } from "../server/serve_network.ts";
import type { AgentView } from "../status/view.ts";
import type { WaitingNetworks } from "../status/waiting.ts";

/** Milliseconds that systemd waits for networks that do not come up. */
const GRACE = 5_000;

/** Milliseconds by which networks that were served before start ahead of new ones. */
const HEAD_START = 1_000;

/** Delays between attempts to serve a failing network, in milliseconds. */
const TIMES = { shortest: 1_000, longest: 30_000, calm: 60_000 };

/** Options of {@linkcode serveNetworks}. */
export interface ServeNetworksOptions {
  readonly signal: AbortSignal;
  /** Called with the view of a started agent; returns a callback for its end. */
  readonly onAgent: (view: AgentView) => () => void;
  /** Networks without an agent, for the status. */
  readonly waiting: WaitingNetworks;
  /** Milliseconds. @default 5000 */
  readonly grace?: number;
}

/**
 * Serves several networks in one process, each by an agent of its own with its own view of the store,
 * lease, backend, firewall rules and subnet file. Restarts a failed agent with growing delays while the
 * others go on.
 *
 * @throws the signal's reason when it aborts
 * @throws {ConfigError} when the store cannot be used at all
 * @throws {SysError | ExportError | PrivilegeError} when this process lacks a privilege at the start
 */
export async function serveNetworks(
  options: AgentOptions,
  networks: NetworksOptions,
  serve: ServeNetworksOptions,
): Promise<never> {
  const { signal } = serve;
  const runIn = await openScopes();
  await using feed = await networkFeed(options.store, networks, signal);
  const supervisor = new Supervisor(
    { ...options, store: feed.store },
    networks,
    serve,
    runIn,
    feed.first,
  );
  try {
    await supervisor.run(feed);
  } finally {
    await supervisor.ended();
  }
  signal.throwIfAborted();
  throw new Error("the list of networks has ended");
}

interface Served {
  readonly stop: AbortController;
  /** Fulfilled when the agent has ended. */
  readonly done: Promise<void>;
}

class Supervisor {
  readonly #options: AgentOptions;
  readonly #networks: NetworksOptions;
  readonly #serve: ServeNetworksOptions;
  readonly #runIn: RunInScope;
  readonly #readiness: NetworksReadiness;
  readonly #served = new Map<string, Served>();
  /** Running clean-ups by network: a new network of the same name waits for them. */
  readonly #leaving = new Map<string, Promise<void>>();
  /** Aborted with the error that ends all networks. */
  readonly #refused = new AbortController();
  #isReady = false;
  #status = "";

  constructor(
    options: AgentOptions,
    networks: NetworksOptions,
    serve: ServeNetworksOptions,
    runIn: RunInScope,
    first: ReadonlySet<string>,
  ) {
    this.#options = options;
    this.#networks = networks;
    this.#serve = serve;
    this.#runIn = runIn;
    this.#readiness = new NetworksReadiness(first);
  }

  async run(feed: NetworkFeed): Promise<void> {
    const { grace = GRACE } = this.#serve;
    using life = linkedSignal(this.#serve.signal, this.#refused.signal);
    const { signal } = life;
    if (this.#networks.watch) {
      for (const network of await subnetFiles(this.#networks.directory)) {
        if (!feed.first.has(network)) this.#leave(network, Promise.resolve());
      }
    }
    await this.#begin(feed.first, signal);
    const id = setTimeout(() => {
      this.#readiness.endGrace();
      this.#notify();
    }, grace);
    try {
      for await (const names of feed.follow(signal)) {
        signal.throwIfAborted();
        for (const network of this.#served.keys()) {
          if (!names.has(network)) this.#remove(network);
        }
        for (const network of names) if (!this.#served.has(network)) this.#add(network);
        this.#notify();
      }
      signal.throwIfAborted();
    } finally {
      clearTimeout(id);
    }
  }

  /** Starts networks that were served before first: of two clashing networks the earlier one wins. */
  async #begin(first: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const before = await subnetFiles(this.#networks.directory);
    const known = [...first].filter((network) => before.has(network));
    for (const network of known) this.#add(network);
    this.#notify();
    if (known.length === first.size) return;
    if (known.length > 0) await sleep(HEAD_START, signal);
    for (const network of first) if (!known.includes(network)) this.#add(network);
    this.#notify();
  }

  /** Fulfilled when no agent runs any more. */
  async ended(): Promise<void> {
    for (const { stop } of this.#served.values()) stop.abort(this.#serve.signal.reason);
    await Promise.all([...this.#served.values()].map(({ done }) => done));
    await Promise.all(this.#leaving.values());
  }

  #add(network: string): void {
    info(`Network added: ${network}`, { networkName: network });
    const stop = new AbortController();
    const scope = {
      name: network,
      notify: (assignments: readonly string[]) => {
        // Ignores notifications of a network while it is removed.
        if (this.#served.get(network)?.stop !== stop) return;
        this.#readiness.take(network, assignments);
        this.#notify();
      },
    };
    const before = this.#leaving.get(network);
    const done = this.#runIn(scope, async () => {
      using life = linkedSignal(this.#serve.signal, stop.signal);
      await before;
      await this.#keepServing(network, life.signal);
    });
    this.#served.set(network, { stop, done });
    this.#serve.waiting.begin(network, this.#optionsOf(network).subnetFile);
  }

  #optionsOf(network: string): AgentOptions {
    return optionsOfNetwork(this.#options, this.#networks, network);
  }

  async #keepServing(network: string, signal: AbortSignal): Promise<void> {
    const options = this.#optionsOf(network);
    const { waiting } = this.#serve;
    const backoff = new Backoff(TIMES);
    let ended: (() => void) | undefined;
    const leave = () => {
      ended?.();
      ended = undefined;
    };
    const serving: ServeOptions = {
      signal,
      onWaiting: (reason) => waiting.report(network, reason),
      onAgent: (view) => {
        waiting.end(network);
        ended = this.#serve.onAgent(view);
      },
    };
    while (!signal.aborted) {
      try {
        await serveNetwork(options, serving);
      } catch (error) {
        if (signal.aborted) return;
        if (!this.#isReady && isRefused(error)) {
          // The privileges of this process do not change, so every other network would fail as well.
          this.#refused.abort(error);
          return;
        }
        const { message } = error instanceof Error ? error : new Error(String(error));
        const delay = backoff.delay;
        backoff.answered();
        if (ended !== undefined) waiting.begin(network, options.subnetFile);
        leave();
        waiting.report(network, message);
        logError(`cannot serve the network (trying again in ${delay / 1000} s): ${message}`);
        notifySystemd(`STATUS=${message}`);
        await sleep(delay, signal);
      } finally {
        leave();
      }
    }
  }

  /** Ends the agent of a network and removes its objects from this host. */
  #remove(network: string): void {
    const { stop, done } = this.#served.get(network)!;
    this.#served.delete(network);
    this.#serve.waiting.end(network);
    this.#readiness.remove(network);
    stop.abort();
    this.#leave(network, done);
  }

  /** Removes a network's objects from this host. @param done fulfilled when its agent has ended */
  #leave(network: string, done: Promise<void>): void {
    info(`Network removed: ${network}`, { networkName: network });
    const scope = { name: network, notify: () => {} };
    const leaving = this.#runIn(scope, async () => {
      await done;
      await this.#cleanUp(network);
      if (this.#leaving.get(network) === leaving) this.#leaving.delete(network);
    });
    this.#leaving.set(network, leaving);
  }

  async #cleanUp(network: string): Promise<void> {
    const options = this.#optionsOf(network);
    try {
      // A network that never had a lease has no objects.
      if (!(await subnetFiles(this.#networks.directory)).has(network)) return;
      await cleanUp(options, {
        signal: this.#serve.signal,
        onDone: (what) => info(`Removed ${what}`),
        onKept: (what) => info(`Kept ${what}`),
        onFailed: (message) => warning(`Cannot remove ${message}`),
      });
    } catch (error) {
      if (this.#serve.signal.aborted) return;
      warning(`cannot remove the network's objects from this host: ${(error as Error).message}`);
    }
  }

  /** Notifies systemd of changes. */
  #notify(): void {
    const { isReady, status } = this.#readiness.state;
    if (status !== this.#status) notifyOfProcess(`STATUS=${status}`);
    this.#status = status;
    if (isReady && !this.#isReady) {
      this.#isReady = true;
      notifyOfProcess("READY=1");
    }
  }
}

/** Returns whether the host refused this process a privilege, which fails every network. */
function isRefused(error: unknown): boolean {
  return error instanceof PrivilegeError || (isRefusal(error) && !(error instanceof StoreError));
}
