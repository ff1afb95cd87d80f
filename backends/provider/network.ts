import { sleep } from "../../mod/async/sleep.ts";
import type { Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import { verbose, warning } from "../../mod/observe/mod.ts";
import type { BackendContext, Ingress, Network, NetworkStatus } from "../backend.ts";
import type { DiffLine } from "../describe.ts";
import { removeManagedRoutes } from "../managed.ts";
import type { Wanted } from "./desired.ts";
import { ProviderError } from "./errors.ts";
import type { RouteProvider } from "./provider.ts";
import { RouteReconciler } from "./reconciler.ts";
import { WarningLimiter } from "./warning_limiter.ts";

/** Options of {@linkcode ProviderNetwork}. */
export interface ProviderNetworkOptions {
  /** Seconds between two checks of the provider's tables. */
  readonly repairPeriod: number;
}

/**
 * A network whose packets the provider's own router carries: a route to this host's subnet in its tables, and
 * nothing on the host, whose packets to other subnets take the default route.
 *
 * A cloud reports no changes, so the network checks the tables periodically and slowly: each check is
 * a call or two against a quota that all hosts of an account share.
 */
export class ProviderNetwork implements Network {
  readonly mtu: number;
  readonly ingress: Ingress;
  readonly #reconciler: RouteReconciler;
  readonly #context: BackendContext;
  readonly #period: number;
  readonly #closing = new AbortController();
  #own: Prefix | undefined;
  #plan: readonly DiffLine[] = [];
  #obstacles: readonly string[] = [];
  /** Number of faults that only an operator fixes. */
  #lasting = 0;

  constructor(provider: RouteProvider, context: BackendContext, options: ProviderNetworkOptions) {
    this.mtu = context.external.mtu;
    this.ingress = { underlay: context.external.name };
    this.#reconciler = new RouteReconciler(provider);
    this.#context = context;
    this.#period = options.repairPeriod * 1000;
  }

  /** flannel's cloud backends publish neither type nor data. */
  leaseData(): undefined {
    return undefined;
  }

  async sync(own: Lease): Promise<number> {
    this.#own = own.subnet;
    const refused = removeManagedRoutes(this.#context);
    if (this.#context.dryRun !== undefined) {
      const { lines, obstacles } = await this.#reconciler.look(this.#wanted(), this.#signal());
      this.#plan = lines;
      this.#obstacles = obstacles;
      return refused;
    }
    const { passing, lasting } = await this.#reconciler.reconcile(this.#wanted(), this.#signal());
    this.#lasting = lasting;
    // run() checks again the faults that only an operator fixes: not every ten seconds.
    return refused + passing;
  }

  /** The router carries packets to all peers. */
  apply(): Promise<number> {
    return Promise.resolve(0);
  }

  planned(): readonly DiffLine[] {
    return this.#plan;
  }

  obstacles(): readonly string[] {
    return this.#obstacles;
  }

  status(): NetworkStatus {
    const { tables, failure } = this.#reconciler.state;
    return {
      // Distinguishes one of these networks from another, as a device does elsewhere.
      ...(tables.size === 0 ? {} : { device: [...tables.keys()].join(", ") }),
      peers: 0,
      refused: new Map(),
      routeTables: failure === undefined
        ? tables
        : new Map([...tables].map(([id, state]) => [id, `${state}, when last seen; ${failure}`])),
      ...(failure === undefined ? {} : { failure }),
    };
  }

  async run(signal: AbortSignal, repair: (what: string) => void): Promise<void> {
    const warnings = new WarningLimiter(warning);
    const ending = AbortSignal.any([signal, this.#closing.signal]);
    for (;;) {
      // Spreads the checks of hosts that were started together.
      await sleep(this.#period * (0.75 + Math.random() / 2), ending);
      if (ending.aborted) return;
      if (this.#own === undefined) continue;
      try {
        if (this.#lasting > 0) {
          const { passing, lasting } = await this.#reconciler.reconcile(this.#wanted(), ending);
          this.#lasting = passing + lasting;
          continue;
        }
        const { lines } = await this.#reconciler.look(this.#wanted(), ending);
        verbose(1, "read the provider's route tables");
        if (lines.length > 0) repair(lines.map(({ sign, text }) => `${sign} ${text}`).join(", "));
        warnings.retain(() => false);
      } catch (error) {
        if (ending.aborted) return;
        if (!(error instanceof ProviderError)) throw error;
        warnings.warn("look", `cannot read the provider's route tables: ${error.message}`);
      }
    }
  }

  async remove(successor?: NetworkStatus): Promise<void> {
    const { passing, lasting } = await this.#reconciler.remove(
      this.#wanted(),
      this.#context.signal ?? new AbortController().signal,
      new Set(successor?.routeTables?.keys()),
    );
    if (passing + lasting > 0) {
      warning("The route to this host stays at the provider; remove it there");
    }
  }

  close(): Promise<void> {
    this.#closing.abort(new DOMException("the network is closed", "AbortError"));
    return Promise.resolve();
  }

  #wanted(): Wanted {
    const { config, formerNetworks } = this.#context;
    return {
      own: this.#own,
      networks: [config.network, ...formerNetworks],
      subnetLen: config.subnetLen,
    };
  }

  #signal(): AbortSignal {
    const { signal } = this.#context;
    return signal === undefined
      ? this.#closing.signal
      : AbortSignal.any([signal, this.#closing.signal]);
  }
}
