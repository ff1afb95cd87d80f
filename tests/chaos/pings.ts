import type { LabHost } from "../lab/host.ts";
import type { Loss } from "./ping_ledger.ts";
import type { PingAnswer, PingRequest } from "./ping_worker.ts";

/** Continuous pings between hosts, and what became of them so far. */
export class Pings implements Disposable {
  /** Between unaffected hosts. */
  sent = 0;
  lost = 0;
  /** Between others. */
  uncounted = 0;
  /** The longest time in which none was sent, in milliseconds. */
  longestPauseMs = 0;
  /** The longest wait for a reply, in milliseconds. */
  slowestMs = 0;
  /** Rounds of pings so far: a clock that ticks each 10 ms, and slower where the machine has no time. */
  rounds = 0;
  readonly #worker: Worker;
  #silent: readonly string[] = [];
  #failure: string | undefined;

  /** @param onLosses called with lost pings, soon after their loss */
  constructor(onLosses: (losses: readonly Loss[]) => void) {
    this.#worker = new Worker(new URL("ping_worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<PingAnswer>) => {
      const { report, longestPauseMs, rounds } = data;
      this.rounds += rounds;
      this.sent += report.sent;
      this.uncounted += report.uncounted;
      this.#silent = report.silent;
      this.longestPauseMs = Math.max(this.longestPauseMs, longestPauseMs);
      this.slowestMs = Math.max(this.slowestMs, report.slowestMs);
      for (const { count } of report.losses) this.lost += count;
      if (report.losses.length > 0) onLosses(report.losses);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = event.message;
    };
  }

  /** Pairs that hear nothing of late: `0 to 2`. @throws {Error} when no pings can be sent */
  get silent(): readonly string[] {
    if (this.#failure !== undefined) throw new Error(`pings: ${this.#failure}`);
    return this.#silent;
  }

  /** Pings from and to an address of a host that it has; `undefined` for not at all. */
  setAddress(index: number, host: LabHost, address: string | undefined): void {
    this.#ask({ host: index, netns: `/proc/${host.pid}/ns/net`, address });
  }

  /** Whether pings from and to a host count. */
  setUnaffected(index: number, isUnaffected: boolean): void {
    this.#ask({ host: index, isUnaffected });
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }

  #ask(request: PingRequest): void {
    this.#worker.postMessage(request);
  }
}
