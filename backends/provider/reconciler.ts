import type { Prefix } from "../../mod/ip/mod.ts";
import { info, warning } from "../../mod/observe/mod.ts";
import type { DiffLine } from "../describe.ts";
import {
  describeProviderChange,
  diffRoutes,
  fixedRoutes,
  type ProviderChange,
  type Wanted,
} from "./desired.ts";
import { ProviderError } from "./errors.ts";
import type { RouteProvider, Survey } from "./provider.ts";
import { retry } from "./retry.ts";
import { WarningLimiter } from "./warning_limiter.ts";

/** Limit for all calls of one check, in milliseconds: systemd gives a start 90 s. */
const LIMIT = 60_000;

/** Options of {@linkcode RouteReconciler}. */
export interface ReconcilerOptions {
  /** Milliseconds for all calls of one check. @default 60000 */
  readonly limit?: number;
  /** Uniform in [0, 1), for the waits between attempts. @default Math.random */
  readonly random?: () => number;
}

/** Result of a reconciliation with the provider. */
export interface Outcome {
  /** Number of changes that failed and may succeed soon. */
  readonly passing: number;
  /** Number of faults that only an operator fixes. */
  readonly lasting: number;
}

/** State of the provider's side, for status and doctor. */
export interface ProviderState {
  /** By table: `active`, or why not. Empty before the first check. */
  readonly tables: ReadonlyMap<string, string>;
  /** The failure of the last check as a whole. */
  readonly failure: string | undefined;
}

/**
 * Brings a provider's route tables to what there shall be, and finds out whether they still are. One
 * check at a time, and logs a failure when it begins or changes.
 */
export class RouteReconciler {
  readonly #provider: RouteProvider;
  readonly #limit: number;
  readonly #random: () => number;
  readonly #failures = new WarningLimiter(warning);
  readonly #obstacles = new WarningLimiter(warning);
  #tables: ReadonlyMap<string, string> = new Map();
  #failure: string | undefined;
  #busy: Promise<unknown> = Promise.resolve();

  constructor(provider: RouteProvider, options: ReconcilerOptions = {}) {
    this.#provider = provider;
    this.#limit = options.limit ?? LIMIT;
    this.#random = options.random ?? Math.random;
  }

  get state(): ProviderState {
    return { tables: this.#tables, failure: this.#failure };
  }

  /**
   * Looks, and changes what is not as wanted. Failures are logged and counted.
   *
   * @throws the signal's reason when it aborts
   */
  reconcile(wanted: Wanted, signal: AbortSignal): Promise<Outcome> {
    return this.#alone(signal, async (limit) => {
      const survey = await this.#survey(limit);
      if ("failed" in survey) return survey.failed;
      const obstacles = obstaclesOf(survey, wanted.own);
      for (const text of obstacles) this.#obstacles.warn(text, text);
      this.#obstacles.retain((text) => obstacles.includes(text));
      const failures: Failure[] = [];
      for (const change of diffRoutes(survey, wanted)) {
        const error = await this.#carryOut(change, survey, limit);
        if (error !== undefined) failures.push({ change, error });
      }
      const failed = new Set(failures.map(({ change }) => keyOf(change)));
      this.#failures.retain((key) => failed.has(key));
      this.#note(survey, wanted.own, failures);
      return outcomeOf(failures.map(({ error }) => error));
    });
  }

  /**
   * Compares the tables with the wanted routes. Changes nothing.
   *
   * @throws {ProviderError} when it cannot be found out
   * @throws the signal's reason when it aborts
   */
  look(wanted: Wanted, signal: AbortSignal): Promise<Look> {
    return this.#alone(signal, async (limit) => {
      const survey = await this.#retry(() => this.#provider.survey(limit), limit);
      const lines = diffRoutes(survey, wanted)
        .flatMap((change) => describeProviderChange(change, survey.self));
      return { survey, lines, obstacles: obstaclesOf(survey, wanted.own) };
    });
  }

  /** Removes this host's routes, but for those in the tables `keep`. Gone already is fine. */
  async remove(
    wanted: Pick<Wanted, "networks" | "subnetLen">,
    signal: AbortSignal,
    keep: ReadonlySet<string> = new Set(),
  ): Promise<Outcome> {
    return await this.#alone(signal, async (limit) => {
      const survey = await this.#survey(limit);
      if ("failed" in survey) return survey.failed;
      const errors: ProviderError[] = [];
      for (const change of ownRoutes(survey, wanted)) {
        if (keep.has(change.table.id)) continue;
        const error = await this.#carryOut(change, survey, limit);
        if (error !== undefined) errors.push(error);
      }
      return outcomeOf(errors);
    });
  }

  async #survey(limit: AbortSignal): Promise<Survey | { failed: Outcome }> {
    try {
      const survey = await this.#retry(() => this.#provider.survey(limit), limit);
      if (this.#failure !== undefined) info("The provider's route tables can be read again");
      this.#failure = undefined;
      return survey;
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      this.#failure = error.message;
      this.#failures.warn(
        "survey",
        `cannot read the provider's route tables: ${error.message}`,
      );
      return { failed: outcomeOf([error]) };
    }
  }

  async #carryOut(
    change: ProviderChange,
    survey: Survey,
    limit: AbortSignal,
  ): Promise<ProviderError | undefined> {
    const words = describeProviderChange(change, survey.self)
      .map(({ sign, text }: DiffLine) => `${sign} ${text}`).join(", ");
    try {
      await this.#retry(() => execute(this.#provider, change, limit), limit);
      info(`Changed at the provider: ${words}`);
      return undefined;
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      if (change.op === "remove" && error.kind === "missing") return undefined;
      this.#failures.warn(keyOf(change), `Not changed at the provider: ${words}: ${error.message}`);
      // Another host was faster; the next check reads the result.
      return error.kind === "missing" || error.kind === "exists"
        ? new ProviderError("unavailable", error.message, { cause: error })
        : error;
    }
  }

  /** Repeats a call of the provider; see {@linkcode retry}. */
  #retry<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return retry(call, { signal, random: this.#random });
  }

  /** Records the state of this host's route in each table. */
  #note(survey: Survey, own: Prefix | undefined, failures: readonly Failure[]): void {
    const fixed = own === undefined ? [] : fixedRoutes(survey, own);
    this.#tables = new Map(survey.tables.map(({ id }) => {
      const failure = failures.find(({ change }) =>
        change.op !== "set" && change.table.id === id && own?.equals(destinationOf(change))
      );
      const fixedRoute = fixed.find(({ table }) => table === id);
      return [id, failure?.error.message ?? fixedRoute?.text ?? "active"];
    }));
  }

  /** Runs one check at a time, each with its limit. */
  async #alone<T>(signal: AbortSignal, look: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const before = this.#busy;
    const run = async () => {
      await before.catch(() => {});
      signal.throwIfAborted();
      return await look(AbortSignal.any([signal, AbortSignal.timeout(this.#limit)]));
    };
    const running = run();
    this.#busy = running;
    return await running;
  }
}

/** A change that was not carried out. */
interface Failure {
  readonly change: ProviderChange;
  readonly error: ProviderError;
}

/** Result of a check that changed nothing. */
export interface Look {
  readonly survey: Survey;
  /** Differences from the wanted routes. */
  readonly lines: readonly DiffLine[];
  /** Obstacles that only an operator removes. */
  readonly obstacles: readonly string[];
}

/** All routes inside the networks that lead to this machine. */
export function ownRoutes(
  survey: Survey,
  wanted: Pick<Wanted, "networks" | "subnetLen">,
): RouteRemoval[] {
  const ownRoutes = {
    ...survey,
    settings: [],
    tables: survey.tables.map((table) => ({
      ...table,
      routes: table.routes.filter(({ target }) => target === "own"),
    })),
  };
  return diffRoutes(ownRoutes, { ...wanted, own: undefined }).flatMap((change) =>
    change.op === "remove" ? [{ ...change, op: "remove" }] : []
  );
}

/** The removal of a route. */
export type RouteRemoval = Extract<ProviderChange, { readonly route: unknown }> & {
  readonly op: "remove";
};

/** Obstacles that only an operator removes. */
function obstaclesOf(survey: Survey, own: Prefix | undefined): string[] {
  return [
    ...survey.obstacles,
    ...(own === undefined ? [] : fixedRoutes(survey, own).map(({ text }) => text)),
  ];
}

async function execute(
  provider: RouteProvider,
  change: ProviderChange,
  signal: AbortSignal,
): Promise<void> {
  switch (change.op) {
    case "set":
      return await change.setting.apply(signal);
    case "create":
      return await provider.create(change.table, change.destination, signal);
    case "replace":
      return await provider.replace(change.table, change.route, signal);
    case "remove":
      return await provider.remove(change.table, change.route, signal);
  }
}

/** Returns the identity of a change between checks. */
function keyOf(change: ProviderChange): string {
  if (change.op === "set") return `set ${change.setting.after}`;
  return `${change.op} ${destinationOf(change)} ${change.table.id}`;
}

function destinationOf(change: Exclude<ProviderChange, { op: "set" }>): Prefix {
  return change.op === "create" ? change.destination : change.route.destination;
}

function outcomeOf(errors: readonly ProviderError[]): Outcome {
  const passing = errors.filter(({ isPassing }) => isPassing).length;
  return { passing, lasting: errors.length - passing };
}
