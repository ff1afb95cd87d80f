import { Histogram, Tally } from "../../observe/instruments.ts";

/** Seconds: from a look at one small table to sixty thousand peers. */
const RECONCILE_BOUNDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10];

/** Seconds: from etcd on this host to one that is about to be given up. */
const CALL_BOUNDS = [0.002, 0.01, 0.05, 0.2, 1, 5, 20];

/** Seconds. */
const LAG_BOUNDS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

/** How many repairs are remembered one by one. */
const RECENT = 20;

/** Occasions on which the kernel is brought to what is wanted: all of it, or what has changed. */
export type Reconciliation = "sync" | "change";

/** One kind of call to the store. */
export interface CallFigures {
  /** Seconds. */
  readonly durations: Histogram;
  errors: number;
}

/** A repair that was due. */
export interface Damage {
  /** As Date.now() tells it. */
  readonly time: number;
  readonly what: string;
}

/**
 * What one network's agent notes of its own work, for whoever asks: figures, and what it is doing at this
 * moment. Times without a date are those of performance.now(), which no change of the clock moves.
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
  /** Kernel objects that the kernel did not take. */
  refusedObjects = 0;
  /** By {@linkcode damageKind}. */
  readonly repairs: Tally = new Tally();
  /** The latest ones, the newest last. */
  readonly recentRepairs: readonly Damage[];
  readonly #recentRepairs: Damage[] = [];
  /** What is being done. */
  #handling: { readonly what: string; readonly since: number } | undefined;
  /** Whether changes are followed, since when, and why not. */
  #watch: { readonly since: number; readonly error: string | undefined } | undefined;
  #lastChange: number | undefined;

  /** @param now a clock in milliseconds. @default performance.now */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.calls = this.#calls;
    this.recentRepairs = this.#recentRepairs;
  }

  /** What is being done, and since when. */
  get handling(): { readonly what: string; readonly since: number } | undefined {
    return this.#handling;
  }

  /** `undefined` before changes are first followed. */
  get watch(): { readonly since: number; readonly error: string | undefined } | undefined {
    return this.#watch;
  }

  /** When the last change arrived, as Date.now() tells it. */
  get lastChange(): number | undefined {
    return this.#lastChange;
  }

  /** Runs a step that is to end soon. Steps do not overlap. */
  async handle<T>(what: string, step: () => Promise<T>): Promise<T> {
    this.#handling = { what, since: this.#now() };
    try {
      return await step();
    } finally {
      this.#handling = undefined;
    }
  }

  /**
   * Runs a call to the store.
   *
   * @param isFailure tells what it threw from answers that merely are not the one hoped for
   */
  async call<T>(
    name: string,
    isFailure: (error: unknown) => boolean,
    call: () => Promise<T>,
  ): Promise<T> {
    let figures = this.#calls.get(name);
    if (figures === undefined) {
      this.#calls.set(name, figures = { durations: new Histogram(CALL_BOUNDS), errors: 0 });
    }
    const started = this.#now();
    try {
      return await call();
    } catch (error) {
      if (isFailure(error)) figures.errors++;
      throw error;
    } finally {
      figures.durations.observe((this.#now() - started) / 1000);
    }
  }

  /** Changes are followed from now on, or (with an error) are not. */
  watching(error?: Error): void {
    this.#watch = { since: this.#now(), error: error?.message };
  }

  /** Changes have arrived. */
  arrived(types: Iterable<string>): void {
    this.#lastChange = Date.now();
    for (const type of types) this.changes.add(type);
  }

  /** The kernel has what arrived at a moment. */
  carried(arrival: number): void {
    this.lag.observe((this.#now() - arrival) / 1000);
  }

  /** Brings the kernel to what is wanted; `step` gives the number of objects that were refused. */
  async reconcile(kind: Reconciliation, step: () => Promise<number>): Promise<number> {
    const started = this.#now();
    const refused = await step();
    this.reconciliations[kind].observe((this.#now() - started) / 1000);
    this.refusedObjects += refused;
    return refused;
  }

  /** Something of ours was damaged. */
  damaged(what: string): void {
    this.repairs.add(damageKind(what));
    this.#recentRepairs.push({ time: Date.now(), what });
    if (this.#recentRepairs.length > RECENT) this.#recentRepairs.shift();
  }
}

/** Kinds of damage, by what a report of it says. */
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

/** `route` of `route to 10.20.93.0/24 removed`; what no pattern knows is `other`. */
export function damageKind(what: string): string {
  return KINDS.find(([pattern]) => pattern.test(what))?.[1] ?? "other";
}
