import { Histogram, Tally } from "../../observe/instruments.ts";

/** Seconds: from one small table to sixty thousand peers. */
const RECONCILE_BOUNDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10];

/** Seconds: from etcd on this host to a call that is about to time out. */
const CALL_BOUNDS = [0.002, 0.01, 0.05, 0.2, 1, 5, 20];

/** Seconds. */
const LAG_BOUNDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

/** How many repairs to keep one by one. */
const RECENT = 20;

/** Kinds of reconciliation: of all objects, or of those that changed. */
export type Reconciliation = "sync" | "change";

/** One kind of call to the store. */
export interface CallFigures {
  /** Seconds. */
  readonly durations: Histogram;
  errors: number;
}

/** Damage that the agent repairs. */
export interface Damage {
  /** As Date.now() returns it. */
  readonly time: number;
  readonly what: string;
}

/**
 * Records the work of one network's agent: counters, histograms and the current step. Times without a date are those
 * of performance.now(), which no change of the clock moves.
 */
export class AgentMetrics {
  readonly #now: () => number;
  readonly calls: ReadonlyMap<string, CallFigures>;
  readonly #calls = new Map<string, CallFigures>();
  /** Changes by their type, and `resync`. */
  readonly changes: Tally = new Tally();
  /** Seconds from a change's arrival until the kernel had it. */
  readonly lag: Histogram = new Histogram(LAG_BOUNDS);
  /** Seconds. */
  readonly reconciliations: Readonly<Record<Reconciliation, Histogram>> = {
    sync: new Histogram(RECONCILE_BOUNDS),
    change: new Histogram(RECONCILE_BOUNDS),
  };
  /** Objects that the kernel refused. */
  refusedObjects = 0;
  /** By {@linkcode damageKind}. */
  readonly repairs: Tally = new Tally();
  /** The latest ones, the newest last. */
  readonly recentRepairs: readonly Damage[];
  readonly #recentRepairs: Damage[] = [];
  /** The current step. */
  #handling: { readonly what: string; readonly since: number } | undefined;
  /** Whether the store's changes are followed, since when, and the error if not. */
  #watch: { readonly since: number; readonly error: string | undefined } | undefined;
  #lastChange: number | undefined;

  /** @param now a clock in milliseconds. @default performance.now */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.calls = this.#calls;
    this.recentRepairs = this.#recentRepairs;
  }

  /** The current step, and its start. */
  get handling(): { readonly what: string; readonly since: number } | undefined {
    return this.#handling;
  }

  /** Whether the store's changes are followed; `undefined` before the first watch. */
  get watch(): { readonly since: number; readonly error: string | undefined } | undefined {
    return this.#watch;
  }

  /** When the last change arrived, as Date.now() returns it. */
  get lastChange(): number | undefined {
    return this.#lastChange;
  }

  /** Runs a step that should end soon. Steps do not overlap. */
  async handle<T>(what: string, step: () => Promise<T>): Promise<T> {
    this.#handling = { what, since: this.#now() };
    try {
      return await step();
    } finally {
      this.#handling = undefined;
    }
  }

  /**
   * Runs a call to the store, and records its duration.
   *
   * @param isFailure false for an error that is a regular answer, such as a conflict
   */
  async call<T>(
    name: string,
    isFailure: (error: unknown) => boolean,
    call: () => Promise<T>,
  ): Promise<T> {
    let calls = this.#calls.get(name);
    if (calls === undefined) {
      this.#calls.set(name, calls = { durations: new Histogram(CALL_BOUNDS), errors: 0 });
    }
    const started = this.#now();
    try {
      return await call();
    } catch (error) {
      if (isFailure(error)) calls.errors++;
      throw error;
    } finally {
      calls.durations.observe((this.#now() - started) / 1000);
    }
  }

  /** Records that changes are followed from now on or, with an error, are not. */
  watching(error?: Error): void {
    this.#watch = { since: this.#now(), error: error?.message };
  }

  /** Records the arrival of changes. */
  arrived(types: Iterable<string>): void {
    this.#lastChange = Date.now();
    for (const type of types) this.changes.add(type);
  }

  /** Records that the kernel has the changes of an arrival. */
  carried(arrival: number): void {
    this.lag.observe((this.#now() - arrival) / 1000);
  }

  /** Runs a reconciliation, and records its duration. `step` returns the number of refused objects. */
  async reconcile(kind: Reconciliation, step: () => Promise<number>): Promise<number> {
    const started = this.#now();
    const refused = await step();
    this.reconciliations[kind].observe((this.#now() - started) / 1000);
    this.refusedObjects += refused;
    return refused;
  }

  /** Records damage to an object that flanneld manages. */
  damaged(what: string): void {
    this.repairs.add(damageKind(what));
    this.#recentRepairs.push({ time: Date.now(), what });
    if (this.#recentRepairs.length > RECENT) this.#recentRepairs.shift();
  }
}

/** Kinds of damage, by the text of the report. */
const KINDS: readonly (readonly [RegExp, string])[] = [
  [/^firewall/i, "firewall"],
  [/^route\b/, "route"],
  [/^address\b/, "address"],
  [/^neighbour\b/, "neighbour"],
  [/^(FDB|forwarding)\b/, "fdb"],
  [/^(device|MTU|MAC)\b/, "device"],
  [/^(tx-checksum)/, "offload"],
  [/\b(program|programs|map|pin|unpinned|detached)\b/, "bpf"],
  [/^kernel events were lost/, "lost-events"],
  [/data path has stopped/, "worker"],
];

/** Returns `route` for `route to 10.20.93.0/24 removed`; `other` for a text that no pattern matches. */
export function damageKind(what: string): string {
  return KINDS.find(([pattern]) => pattern.test(what))?.[1] ?? "other";
}
