import type { LabHost } from "../lab/host.ts";
import { delay } from "../lab/process.ts";
import { LabUnit } from "../lab/unit.ts";

/** Milliseconds from an agent's end to its next start: the unit's `RestartSec=`. */
const RESTART_MS = 1_000;

/** Milliseconds that a start may take on a busy machine. */
const START_TIMEOUT_MS = 120_000;

/** An agent that is started again when it ends by itself, as systemd does. */
export class ChaosAgent implements AsyncDisposable {
  readonly #host: LabHost;
  readonly #onExit: (code: number, lastLine: string) => void;
  readonly #started = Date.now();
  #unit: LabUnit | undefined;
  #isWanted = false;
  #log = "";
  #supervised: Promise<void> = Promise.resolve();

  /** @param onExit called when it ended by itself */
  constructor(host: LabHost, onExit: (code: number, lastLine: string) => void) {
    this.#host = host;
    this.#onExit = onExit;
  }

  /** Process id, as seen from outside; `undefined` while none runs. */
  get pid(): number | undefined {
    return this.#unit?.process.running ? this.#unit.process.pid : undefined;
  }

  /** Everything that its processes have logged, the one after the other. */
  get log(): string {
    return this.#log + (this.#unit?.process.output ?? "");
  }

  /** Bytes of the log, by minutes in which it was written. */
  get logRate(): { readonly bytes: number; readonly minutes: number } {
    const bytes = this.#log.length + (this.#unit?.process.output.length ?? 0);
    return { bytes, minutes: (Date.now() - this.#started) / 60_000 };
  }

  /** Starts it and waits until it is ready. @throws {Error} with its log when that takes too long */
  async start(): Promise<void> {
    await this.launch();
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const unit = this.#unit;
      try {
        await unit!.ready(Math.max(1, deadline - Date.now()));
        return;
      } catch (error) {
        if (Date.now() > deadline || !this.#isWanted) throw error;
        await delay(100);
      }
    }
  }

  /** Starts it without waiting for anything. */
  async launch(): Promise<void> {
    this.#isWanted = true;
    const unit = await LabUnit.start(this.#host, { wait: false });
    this.#unit = unit;
    this.#supervised = this.#supervise(unit);
  }

  /** Ends it with SIGTERM. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    await this.#unit?.stop();
    await this.#supervised;
  }

  /** Ends it with SIGKILL. */
  async kill(): Promise<void> {
    this.#isWanted = false;
    await this.#unit?.kill();
    await this.#supervised;
  }

  /** Stops the process in its tracks (`true`) or lets it go on. */
  freeze(on: boolean): void {
    this.#unit?.process.signal(on ? "SIGSTOP" : "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #supervise(unit: LabUnit): Promise<void> {
    const { code } = await unit.process.status;
    // Closes the notify socket.
    await unit.stop();
    this.#log += unit.process.output;
    if (this.#unit === unit) this.#unit = undefined;
    if (!this.#isWanted) return;
    this.#onExit(code, unit.process.output.trimEnd().split("\n").at(-1) ?? "");
    await delay(RESTART_MS);
    // It may have been stopped, or started again, meanwhile.
    if (this.#isWanted && this.#unit === undefined) await this.launch();
  }
}
