import { StoreUnavailableError } from "../../mod/store/errors.ts";
import { configureLog } from "../../mod/observe/log/log.ts";
import { ModelStore } from "./model_kv.ts";
import type { StoreData, StoreReply, StoreRequest } from "./store_data.ts";

/** Directory of the network. */
export const PREFIX = "/net";

/** A request that a process waits for. */
interface Call {
  readonly request: StoreRequest;
  readonly resolve: (reply: StoreReply) => void;
  readonly reject: (error: Error) => void;
  /** The store's reply while it is on its way. */
  reply?: StoreReply;
}

/** A timer that a process has set. */
interface PlannedTimer {
  readonly delay: number;
  readonly fire: () => void;
}

/** Delay of the shortest renewal, in milliseconds; a `sleep()` is shorter. */
const SHORTEST_RENEWAL = 60_000;

/** The process whose code runs now: its clock and its timers are the global ones. */
let current: ModelProcess | undefined;

/** Steps of the event loop after which a process that neither waits nor ends is at fault. */
const MOST_TURNS = 10_000;

/**
 * Real code as one process on its host: it runs until it waits for the store, for a timer, or has
 * nothing to do. One thing is done at a time, as in the agent's inbox.
 */
export class ModelProcess {
  readonly name: string;
  readonly store: ModelStore;
  readonly #data: StoreData;
  readonly #timers = new Map<number, PlannedTimer>();
  #lastTimer = 0;
  /** Milliseconds of this process's `performance.now()`. */
  #clock = 0;
  #call: Call | undefined;
  #isBusy = false;
  #failure: unknown;
  /** Inputs since the start of the present work, which determine its next step. */
  #inputs: string[] = [];

  constructor(name: string, data: StoreData) {
    this.name = name;
    this.#data = data;
    this.store = new ModelStore(PREFIX, data, (request) => {
      const { promise, resolve, reject } = Promise.withResolvers<StoreReply>();
      this.#call = { request, resolve, reject };
      return promise;
    });
  }

  /** The pending request to the store. */
  get request(): StoreRequest | undefined {
    return this.#call?.request;
  }

  /** The store has carried its request out and the reply is on its way. */
  get isReplyDue(): boolean {
    return this.#call?.reply !== undefined;
  }

  /** True while it works on something, also while it waits. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Milliseconds that it sleeps for. */
  get sleep(): number | undefined {
    return this.#timer((delay) => delay < SHORTEST_RENEWAL)?.[1].delay;
  }

  /** True when a renewal is planned. */
  get isRenewalPlanned(): boolean {
    return this.#timer((delay) => delay >= SHORTEST_RENEWAL) !== undefined;
  }

  /** For the state's digest. */
  get progress(): unknown {
    const request = this.#call?.request;
    return [
      this.#isBusy,
      this.#inputs,
      this.sleep,
      this.isRenewalPlanned,
      this.#call?.reply,
      request,
    ];
  }

  /** Starts `work`, which handles its own result. */
  begin(what: string, work: () => Promise<void>): Promise<void> {
    return this.#run(() => {
      this.#isBusy = true;
      this.#inputs = [what];
      work().then(() => this.#end(), (error) => {
        this.#failure = error;
        this.#end();
      });
    });
  }

  /** Carries the request out. */
  carryOut(): void {
    this.#call!.reply = this.#data.apply(this.#call!.request, this.name);
  }

  /** Hands the reply over. */
  reply(): Promise<void> {
    const { resolve, reply } = this.#call!;
    this.#inputs.push(JSON.stringify(reply));
    return this.#run(() => {
      this.#call = undefined;
      resolve(reply!);
    });
  }

  /** Ends the request as one that was not answered. */
  fail(): Promise<void> {
    const { reject } = this.#call!;
    this.#inputs.push("unavailable");
    return this.#run(() => {
      this.#call = undefined;
      reject(new StoreUnavailableError("the store does not answer"));
    });
  }

  /** Lets it sleep no longer, so many milliseconds later. */
  wake(milliseconds: number): Promise<void> {
    return this.#fire((delay) => delay < SHORTEST_RENEWAL, milliseconds);
  }

  /** Fires the timer of the renewal. */
  protected fireRenewal(): Promise<void> {
    return this.#fire((delay) => delay >= SHORTEST_RENEWAL, 0);
  }

  setTimer(fire: () => void, delay: number): number {
    this.#timers.set(++this.#lastTimer, { delay, fire });
    return this.#lastTimer;
  }

  clearTimer(id: number): void {
    this.#timers.delete(id);
  }

  get clock(): number {
    return this.#clock;
  }

  #timer(isMeant: (delay: number) => boolean): [number, PlannedTimer] | undefined {
    for (const entry of this.#timers) if (isMeant(entry[1].delay)) return entry;
    return undefined;
  }

  #fire(isMeant: (delay: number) => boolean, milliseconds: number): Promise<void> {
    const [id, { fire }] = this.#timer(isMeant)!;
    this.#timers.delete(id);
    this.#clock += milliseconds;
    return this.#run(fire);
  }

  #end(): void {
    this.#isBusy = false;
    this.#inputs = [];
  }

  async #run(step: () => void): Promise<void> {
    current = this;
    step();
    for (let turn = 0; this.#isBusy && !this.#call && this.sleep === undefined; turn++) {
      if (turn === MOST_TURNS) throw new Error(`${this.name} neither waits nor ends`);
      await null;
    }
    current = undefined;
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/**
 * Gives the processes of a model their timers, their clocks and their random numbers, in place of the
 * global ones, until it is disposed of.
 */
export class ProcessGlobals implements Disposable {
  readonly #real = { setTimeout, clearTimeout, now: performance.now, random: Math.random };
  readonly #log = configureLog({ quiet: true, write: () => {} });
  /** A stack trace costs more than all else that a step does; the log asks for one a line. */
  readonly #stackTraceLimit = Error.stackTraceLimit;
  /** Result of `Math.random()`. */
  random = 0;
  /** How often it was asked. */
  asked = 0;

  constructor() {
    Error.stackTraceLimit = 0;
    const { setTimeout: plan, clearTimeout: cancel, now } = this.#real;
    globalThis.setTimeout =
      ((call: (...args: unknown[]) => void, delay = 0, ...args: unknown[]) =>
        current === undefined
          ? plan(call, delay, ...args)
          : current.setTimer(() => call(...args), delay)) as typeof setTimeout;
    globalThis.clearTimeout = (id) =>
      current === undefined ? cancel(id as number) : current.clearTimer(id as number);
    performance.now = () => current?.clock ?? now.call(performance);
    Math.random = () => {
      this.asked++;
      return this.random;
    };
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#real.setTimeout;
    globalThis.clearTimeout = this.#real.clearTimeout;
    performance.now = this.#real.now;
    Math.random = this.#real.random;
    configureLog(this.#log);
    Error.stackTraceLimit = this.#stackTraceLimit;
  }
}
