import { warning } from "../../observe/mod.ts";
import type { Warning } from "../core/warning_log.ts";
import { Timer } from "../core/timer.ts";

/** How long a job may run before it counts as slow, and how often that is checked again, in milliseconds. */
const SLOW_MS = 5_000;

/** How often one command is reported again, in milliseconds. */
const REPEAT_MS = 60_000;

/** Reports which command a job of several commands waits for. */
export class SlowCommand implements Disposable {
  #command = "the firewall's tool";
  readonly #timer = new Timer(() => this.#check());
  #started = 0;
  #onSlow = () => {};
  #isSlow = false;
  #warning: Warning | undefined;
  #reported = { command: "", at: -Infinity };

  /** The job that runs has taken more than 5 s. */
  get isSlow(): boolean {
    return this.#isSlow;
  }

  /** The command that was waited for last; `undefined` after {@linkcode clear}. */
  get warning(): Warning | undefined {
    return this.#warning;
  }

  /** Takes the name of each command of the job as it starts. */
  readonly onCommand = (name: string): void => {
    this.#command = name;
  };

  /**
   * Watches one job, until the returned object is disposed of.
   *
   * @param onSlow called every 5 s while the job runs
   */
  start(onSlow: () => void): Disposable {
    this.#started = performance.now();
    this.#onSlow = onSlow;
    this.#timer.set(SLOW_MS);
    return this;
  }

  /** Commands end in time again. @returns true when one had not */
  clear(): boolean {
    const was = this.#warning !== undefined;
    this.#warning = undefined;
    this.#reported = { command: "", at: -Infinity };
    return was;
  }

  [Symbol.dispose](): void {
    this.#timer.clear();
    this.#isSlow = false;
  }

  #check(): void {
    this.#isSlow = true;
    this.#timer.set(SLOW_MS);
    this.#report(performance.now() - this.#started);
    this.#onSlow();
  }

  #report(elapsedMs: number): void {
    const command = this.#command;
    const message = `waiting for ${command} (${
      Math.round(elapsedMs / 1000)
    } s) to set up the firewall`;
    this.#warning = { since: this.#warning?.since ?? Date.now() - SLOW_MS, message };
    const now = performance.now();
    if (command === this.#reported.command && now - this.#reported.at < REPEAT_MS) return;
    this.#reported = { command, at: now };
    warning(message, { command });
  }
}
