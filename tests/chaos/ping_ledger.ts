/**
 * After this many milliseconds a reply does not come any more. Kernels answer within one; on a machine
 * with forty programs a processor, what carries packets there (ksoftirqd) may have to wait for its turn.
 */
export const REPLY_TIMEOUT_MS = 10_000;

/** A pair is silent that has had no reply for this many milliseconds. */
const SILENT_MS = 500;

/** Sequence numbers there are. */
const SEQUENCES = 2 ** 32;

/** Pings of one host to another that got no reply, although both were unaffected all the time. */
export interface Loss {
  /** Indices of the hosts. */
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** When the first and the last was sent, in milliseconds of the ledger's clock. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** `no reply`, or what the kernel refused the packet with. */
  readonly reason: string;
}

/** Results of pings since the last report. */
export interface PingReport {
  /** Between unaffected hosts. */
  readonly sent: number;
  /** Between others. */
  readonly uncounted: number;
  readonly losses: readonly Loss[];
  /** Pairs without a reply of late: `0 to 2`. */
  readonly silent: readonly string[];
  /** The longest that a counted ping had to wait for its reply, in milliseconds. */
  readonly slowestMs: number;
}

interface Ping {
  readonly from: number;
  readonly to: number;
  readonly atMs: number;
  isCounted: boolean;
}

/** Counts pings between hosts, of which those between unaffected hosts must be answered. */
export class PingLedger {
  /** By sender and sequence number. */
  readonly #pending = new Map<number, Ping>();
  readonly #next: number[] = [];
  readonly #unaffected: boolean[] = [];
  readonly #lastReply = new Map<string, number>();
  #losses = new Map<string, Loss>();
  #sent = 0;
  #uncounted = 0;
  #slowestMs = 0;

  /** Lets a host's pings count, or no longer: then those under way do not either. */
  setUnaffected(host: number, isUnaffected: boolean): void {
    this.#unaffected[host] = isUnaffected;
    if (isUnaffected) return;
    for (const ping of this.#pending.values()) {
      if (ping.from !== host && ping.to !== host) continue;
      if (ping.isCounted) this.#uncount();
      ping.isCounted = false;
    }
  }

  /** Enters a ping that is about to leave. @returns its sequence number */
  send(from: number, to: number, nowMs: number): number {
    const sequence = this.#next[from] ?? 0;
    this.#next[from] = (sequence + 1) % SEQUENCES;
    const isCounted = (this.#unaffected[from] ?? false) && (this.#unaffected[to] ?? false);
    this.#pending.set(from * SEQUENCES + sequence, { from, to, atMs: nowMs, isCounted });
    if (isCounted) this.#sent++;
    else this.#uncounted++;
    return sequence;
  }

  /** Enters a reply. */
  answer(from: number, sequence: number, nowMs: number): void {
    const key = from * SEQUENCES + sequence;
    const ping = this.#pending.get(key);
    if (ping === undefined) return;
    this.#pending.delete(key);
    this.#lastReply.set(`${from} to ${ping.to}`, nowMs);
    if (ping.isCounted) this.#slowestMs = Math.max(this.#slowestMs, nowMs - ping.atMs);
  }

  /** Enters that the kernel did not take a ping. */
  refuse(from: number, sequence: number, reason: string): void {
    this.#lose(from * SEQUENCES + sequence, reason);
  }

  /**
   * Gives up pings that nobody answers. To be called after all replies that are there were entered,
   * so that a program that was not run for a while loses none.
   */
  expire(nowMs: number): void {
    for (const [key, { atMs }] of this.#pending) {
      if (nowMs - atMs < REPLY_TIMEOUT_MS) continue;
      this.#lose(key, "no reply");
    }
  }

  /** Returns the results since the last call. @param pairs that there are, each `0 to 2` */
  report(nowMs: number, pairs: readonly string[]): PingReport {
    const report = {
      ...{ sent: this.#sent, uncounted: this.#uncounted, slowestMs: this.#slowestMs },
      losses: [...this.#losses.values()],
      silent: pairs.filter((pair) => nowMs - (this.#lastReply.get(pair) ?? -Infinity) > SILENT_MS),
    };
    [this.#sent, this.#uncounted, this.#slowestMs, this.#losses] = [0, 0, 0, new Map()];
    return report;
  }

  #uncount(): void {
    this.#sent--;
    this.#uncounted++;
  }

  #lose(key: number, reason: string): void {
    const ping = this.#pending.get(key);
    if (ping === undefined) return;
    this.#pending.delete(key);
    const { from, to, atMs, isCounted } = ping;
    if (!isCounted) return;
    const name = `${from} to ${to}: ${reason}`;
    const { count = 0, firstMs = atMs } = this.#losses.get(name) ?? {};
    this.#losses.set(name, { from, to, count: count + 1, firstMs, lastMs: atMs, reason });
  }
}
