/** Milliseconds of one slot of {@linkcode Report.requests}. */
export const SLOT_MS = 100;

/** Counts of one worker process, or of several, since they were read last. */
export interface Report {
  /** Requests by kind, and of each by slot: milliseconds since the epoch divided by {@linkcode SLOT_MS}. */
  readonly requests: Readonly<Record<string, Readonly<Record<number, number>>>>;
  /** Times at which a watch stood again after a break, in milliseconds since the epoch. */
  readonly reconnects: readonly number[];
  /** Changes that watches delivered. */
  readonly changes: number;
  /** Snapshots that watches delivered. */
  readonly resyncs: number;
  /** Messages of failed steps, and how often each occurred. */
  readonly failures: Readonly<Record<string, number>>;
}

/** Counts the requests of the agents of one process. */
export class Tally {
  #requests: Record<string, Record<number, number>> = {};
  #failures: Record<string, number> = {};
  #reconnects: number[] = [];
  #changes = 0;
  #resyncs = 0;

  request(kind: string): void {
    const slots = this.#requests[kind] ??= {};
    const slot = Math.floor(Date.now() / SLOT_MS);
    slots[slot] = (slots[slot] ?? 0) + 1;
  }

  failed(message: string): void {
    // Addresses and subnets differ between agents, the reason does not.
    const reason = message.replaceAll(/\d+(\.\d+)+(\/\d+)?(:\d+)?|\d+-\d+/g, "N").slice(0, 120);
    this.#failures[reason] = (this.#failures[reason] ?? 0) + 1;
  }

  reconnected(): void {
    this.#reconnects.push(Date.now());
  }

  changed(count: number): void {
    this.#changes += count;
  }

  resynced(): void {
    this.#resyncs++;
  }

  /** Returns the counts and starts from zero. */
  take(): Report {
    const report = {
      requests: this.#requests,
      reconnects: this.#reconnects,
      changes: this.#changes,
      resyncs: this.#resyncs,
      failures: this.#failures,
    };
    this.#requests = {};
    this.#failures = {};
    this.#reconnects = [];
    this.#changes = this.#resyncs = 0;
    return report;
  }
}

/** Adds the reports of several processes up. */
export function sum(reports: readonly Report[]): Report {
  const requests: Record<string, Record<number, number>> = {};
  const failures: Record<string, number> = {};
  for (const report of reports) {
    for (const [kind, slots] of Object.entries(report.requests)) {
      add(requests[kind] ??= {}, slots);
    }
    add(failures, report.failures);
  }
  return {
    requests,
    failures,
    reconnects: reports.flatMap(({ reconnects }) => reconnects),
    changes: reports.reduce((total, { changes }) => total + changes, 0),
    resyncs: reports.reduce((total, { resyncs }) => total + resyncs, 0),
  };
}

/** Requests of a report by kind. */
export function byKind({ requests }: Report): Map<string, number> {
  return new Map(
    Object.entries(requests).map(([kind, slots]) => [kind, total(Object.values(slots))]),
  );
}

/** Requests of a report by slot. */
export function bySlot({ requests }: Report): Record<number, number> {
  const slots: Record<number, number> = {};
  for (const counts of Object.values(requests)) add(slots, counts);
  return slots;
}

/** Sum of numbers. */
export function total(numbers: Iterable<number>): number {
  let result = 0;
  for (const number of numbers) result += number;
  return result;
}

function add(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [key, count] of Object.entries(from)) to[key] = (to[key] ?? 0) + count;
}
