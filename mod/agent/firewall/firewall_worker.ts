import type { PreviousSubnet } from "../../export/mod.ts";
import {
  describeObstacle,
  type Firewall,
  FirewallError,
  type FirewallSpec,
  openFirewall,
  type OverlayPath,
  type Peer,
  PeerSources,
} from "../../firewall/mod.ts";
import { info, warning } from "../../observe/mod.ts";
import { type Deadline, linkedSignal } from "../../store/deadline.ts";
import { monitorRuleset } from "../../sys/mod.ts";
import { Backoff } from "../core/backoff.ts";
import { reportDocker } from "../host/docker_report.ts";
import { previousNetwork } from "./firewall_spec.ts";
import type { AgentOptions } from "../core/options.ts";
import { SlowCommand } from "./slow_command.ts";
import { type Warning, WarningLog } from "../core/warning_log.ts";
import { Timer } from "../core/timer.ts";

/** A check runs the firewall's tool, which costs 10 ms or more; other programs may change rules all the time. */
const TIMES = { shortest: 100, longest: 800, calm: 10_000 };

/** One line a minute, in milliseconds. */
const REPEAT = 60_000;

/** Rules for a {@linkcode FirewallWorker} to apply. */
export interface FirewallRequest {
  readonly spec: FirewallSpec;
  /** The network's config asks for nftables. */
  readonly preferNftables: boolean;
  /** Returns the way of packets into this host; called at each check of the host's rules. */
  readonly path: () => OverlayPath;
}

/** Why a request failed at its first attempt. */
export interface FirewallFailure {
  readonly error: FirewallError;
  /** True when the host has no usable tool, or not that of `-firewall`. */
  readonly isToolMissing: boolean;
}

/** Dependencies of a {@linkcode FirewallWorker}. */
export interface FirewallWorkerParts {
  readonly options: Pick<AgentOptions, "firewall" | "iptablesResync">;
  /** Contents of subnet.env at the start of the agent. */
  readonly previous: PreviousSubnet;
  /**
   * Called when the newest request has ended its first attempt, when a later attempt is the first to succeed, and
   * when a command is slow.
   */
  readonly onProgress: () => void;
  /** Called each time that rules were missing. */
  readonly onDamage: (what: string) => void;
  /** Called with an error that no later attempt would fix. */
  readonly onFailed: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** A request with the commands that run for it. */
interface Job extends FirewallRequest {
  readonly deadline: Deadline;
}

/**
 * Applies and restores the firewall rules, beside the agent's inbox, which never waits for a firewall tool.
 *
 * One job runs at a time. The newest request replaces earlier ones: the command of an earlier request ends by
 * itself, or the worker ends it once it is slow. Peers are the exception: the worker changes their sets at once
 * over netlink, in the order of the leases, also while a tool runs.
 */
export class FirewallWorker implements Disposable {
  readonly #parts: FirewallWorkerParts;
  readonly #resync: Timer;
  /** Set when other programs have changed rules, perhaps flanneld's. */
  readonly #soon: Timer;
  readonly #backoff = new Backoff(TIMES);
  readonly #state = new WarningLog();
  readonly #slow = new SlowCommand();
  readonly #peers = new PeerSources();
  #newest: Job | undefined;
  /** The job that runs. */
  #running: Job | undefined;
  /** The firewall that was opened last, and for which job. */
  #opened: { readonly job: Job; readonly firewall: Firewall } | undefined;
  /** The network of the rules that are in place. */
  #applied: PreviousSubnet;
  /** The job whose rules are in place. */
  #inPlace: Job | undefined;
  #isDue = false;
  #isAttempted = false;
  #failure: FirewallFailure | undefined;
  /** Obstacles that were logged; `undefined` before the first check of other programs' rules. */
  #obstacles: readonly string[] | undefined;
  /** Time of that check, by `performance.now()`. */
  #surveyed = -Infinity;
  /** True when other programs have changed rules since. */
  #isChanged = false;
  #isWatching = false;
  #reportedRepair = -Infinity;

  constructor(parts: FirewallWorkerParts) {
    this.#parts = parts;
    this.#applied = parts.previous;
    const check = () => this.#begin();
    this.#resync = new Timer(check);
    this.#soon = new Timer(() => {
      this.#backoff.answered();
      check();
    });
  }

  /** The failure of the firewall, or the command that it waits for. */
  get warning(): Warning | undefined {
    return this.#state.current ?? this.#slow.warning;
  }

  /** The newest request is in place, or its first attempt has failed. */
  get isAttempted(): boolean {
    return this.#isAttempted;
  }

  /** The rules of the newest request are, or were, in place. */
  get isInPlace(): boolean {
    return this.#newest !== undefined && this.#inPlace === this.#newest;
  }

  /** The host has a tool that makes the rules of `FirewallSpec.guard`, as far as is known. */
  get isGuarding(): boolean {
    return this.#opened !== undefined && this.#opened.job === this.#newest
      ? this.#opened.firewall.isGuarding
      : this.#newest?.spec.guard !== undefined;
  }

  /** The job that runs is taking more than 5 s. */
  get isSlow(): boolean {
    return this.#slow.isSlow;
  }

  /** Why the first attempt at the newest request failed. */
  get failure(): FirewallFailure | undefined {
    return this.#failure;
  }

  /** Requests rules in place of those requested before. @param peers all peers */
  request(request: FirewallRequest, peers: Iterable<Peer>): void {
    this.#peers.replace(peers);
    this.#newest = {
      ...request,
      deadline: linkedSignal(this.#parts.signal),
    };
    this.#isAttempted = false;
    this.#failure = undefined;
    if (this.#slow.isSlow) this.#endSuperseded();
    this.#begin();
  }

  /** Checks the rules of the newest request soon. */
  check(): void {
    this.#begin();
  }

  /** Changes the peers whose packets the rules accept by their sources. Cost: O(changes). */
  changePeers(removed: Iterable<Peer>, added: Iterable<Peer>): void {
    const change = this.#peers.change(removed, added);
    this.#opened?.firewall.changePeers(change);
  }

  /**
   * Checks that the host has a firewall tool. A tool that hangs counts as installed; the job that runs it
   * reports it.
   *
   * @throws {FirewallError} when there is none, or none works
   */
  async requireTools(spec: FirewallSpec, preferNftables: boolean): Promise<void> {
    const { signal, options } = this.#parts;
    using deadline = linkedSignal(signal);
    using _watch = this.#slow.start(() => deadline[Symbol.dispose]());
    try {
      await openFirewall(spec, undefined, {
        ...{ signal: deadline.signal, mode: options.firewall, preferNftables },
        onCommand: this.#slow.onCommand,
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!deadline.signal.aborted) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#resync.clear();
    this.#soon.clear();
    this.#slow[Symbol.dispose]();
    this.#opened?.job.deadline[Symbol.dispose]();
    this.#newest?.deadline[Symbol.dispose]();
  }

  #begin(): void {
    this.#isDue = true;
    if (this.#running !== undefined) return;
    this.#work().catch((error) => {
      if (!this.#parts.signal.aborted) this.#parts.onFailed(error);
    });
  }

  async #work(): Promise<void> {
    const { signal, options, onProgress } = this.#parts;
    while (this.#isDue) {
      this.#isDue = false;
      this.#soon.clear();
      const job = this.#newest;
      if (job === undefined) return;
      const error = await this.#attempt(job);
      signal.throwIfAborted();
      if (error === undefined) this.#applied = job.spec;
      if (job !== this.#newest) {
        job.deadline[Symbol.dispose]();
        continue;
      }
      this.#resync.set(options.iptablesResync * 1000);
      const isNew = error === undefined && this.#inPlace !== job;
      if (error === undefined) this.#inPlace = job;
      if (error === undefined) {
        const wasSlow = this.#slow.clear();
        if (this.#state.clear() || wasSlow) info("The firewall works again");
      } else this.#state.report(`failed to set up the firewall: ${error.message}`);
      if (this.#isAttempted) {
        if (isNew) onProgress();
        continue;
      }
      this.#isAttempted = true;
      if (error !== undefined) {
        this.#failure = { error, isToolMissing: this.#opened?.job !== job };
      }
      onProgress();
    }
  }

  /** Returns the error that kept a job's rules from being applied. A superseded job may fail with any error. */
  async #attempt(job: Job): Promise<FirewallError | undefined> {
    const { signal, onProgress } = this.#parts;
    using _watch = this.#slow.start(() => {
      this.#endSuperseded();
      onProgress();
    });
    this.#running = job;
    try {
      await this.#apply(job);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof FirewallError) return error;
      if (job === this.#newest) throw error;
      return new FirewallError("a newer request replaces it", { cause: error });
    } finally {
      this.#running = undefined;
    }
    return undefined;
  }

  async #apply(job: Job): Promise<void> {
    if (this.#opened?.job !== job) {
      const { options } = this.#parts;
      const firewall = await openFirewall(job.spec, previousNetwork(this.#applied), {
        ...{ signal: job.deadline.signal, mode: options.firewall, peers: this.#peers },
        ...{ preferNftables: job.preferNftables, onCommand: this.#slow.onCommand },
      });
      this.#opened?.job.deadline[Symbol.dispose]();
      this.#opened = { job, firewall };
      this.#watchRules();
    }
    const { firewall } = this.#opened;
    const { signal } = this.#parts;
    const result = await firewall.ensure();
    if (result === "applied" || this.#obstacles === undefined) reportDocker(signal);
    if (result === "applied") info(`Firewall rules in place (${firewall.description})`);
    if (result === "repaired") this.#reportRepair();
    const isDue = this.#isChanged && performance.now() - this.#surveyed > REPEAT;
    if (result !== "unchanged" || this.#obstacles === undefined || isDue) {
      await this.#survey(firewall, job.path());
    }
  }

  /** Ends the commands of a job that a newer request has replaced. */
  #endSuperseded(): void {
    if (this.#running !== this.#newest) this.#running?.deadline[Symbol.dispose]();
  }

  /** Checks the rules soon after a change. */
  #watchRules(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    const { signal, options } = this.#parts;
    const watch = async () => {
      for await (const _ of monitorRuleset({ signal })) {
        this.#isChanged = true;
        if (!this.#soon.isSet) this.#soon.set(this.#backoff.delay);
      }
    };
    watch().catch((error: Error) => {
      info(`firewall rules are checked only every ${options.iptablesResync} s: ${error.message}`);
    });
  }

  /** Reports a repair at most once a minute. */
  #reportRepair(): void {
    this.#parts.onDamage("firewall rules were missing");
    const now = performance.now();
    if (now - this.#reportedRepair < REPEAT) return;
    this.#reportedRepair = now;
    warning("Firewall rules were missing and have been put back", { object: "firewall rules" });
  }

  /** Logs each obstacle of other programs once. */
  async #survey(firewall: Firewall, path: OverlayPath): Promise<void> {
    this.#isChanged = false;
    this.#surveyed = performance.now();
    const { obstacles } = await firewall.survey(path);
    const lines = obstacles.map(describeObstacle);
    for (const line of lines) if (!this.#obstacles?.includes(line)) warning(line);
    this.#obstacles = lines;
  }
}
