import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { verbose } from "../../observe/mod.ts";
import { type EchoOutcome, Prober } from "../../probe/mod.ts";
import { StoreError } from "../../store/mod.ts";
import { probeTargets } from "./peers.ts";
import type { AgentView } from "./view.ts";

/** Echoes a second over all peers, at most. */
const RATE = 20;

/** How often each peer is sent one at most, in milliseconds. */
const INTERVAL = 15_000;

/** How long after the last question probing goes on, in milliseconds: over two scrapes a minute apart. */
const IDLE = 150_000;

/** How long a reply may take, in milliseconds. */
const TIMEOUT = 2_000;

/** How long records that were read are believed, and a reading of them may take, in milliseconds. */
const RECORDS_AGE = 30_000;
const RECORDS_TIME = 2_000;

/** How soon they are read again after that failed, in milliseconds. */
const RECORDS_RETRY = 3_000;

/** What became of the echoes to one peer's subnet. */
export interface RoundTrip {
  /** Milliseconds; absent when the last one was not answered. */
  last?: number | undefined;
  /** Least that was seen. */
  best?: number | undefined;
  sent: number;
  lost: number;
  /** When the last one was sent, as Date.now() tells it. */
  time: number;
}

/** What an agent's record says of its host. */
export interface PeerRecord {
  readonly hostname: string;
  readonly version: string;
}

/** A reading of the records, under way or done. */
interface Reading {
  /** When it began, as performance.now() tells it. */
  readonly at: number;
  readonly of: Promise<ReadonlyMap<IPv4, PeerRecord>>;
}

/** What {@linkcode PeerProbe} sends echoes with. */
export type Echoes = Pick<Prober, "echo"> & AsyncDisposable;

/** Options of {@linkcode PeerProbe}. */
export interface PeerProbeOptions {
  /** @default {@linkcode Prober.open} */
  readonly openProber?: () => Echoes;
  /** Milliseconds. @default 15_000 */
  readonly interval?: number;
  /** Milliseconds. @default 150_000 */
  readonly idle?: number;
}

/**
 * What is found out because somebody asks, and only for as long as somebody does: round-trip times through
 * the overlay, and who the peers are by their agents' records.
 */
export class PeerProbe {
  readonly #views: () => readonly AgentView[];
  readonly #signal: AbortSignal;
  readonly #options: Required<PeerProbeOptions>;
  /** By network and subnet. */
  readonly #roundTrips = new Map<string, RoundTrip>();
  readonly #records = new Map<string, Reading>();
  #asked = -Infinity;
  #probing: Promise<void> | undefined;

  constructor(
    views: () => readonly AgentView[],
    signal: AbortSignal,
    options: PeerProbeOptions = {},
  ) {
    this.#views = views;
    this.#signal = signal;
    this.#options = {
      openProber: () => Prober.open({ rate: RATE, burst: RATE }),
      interval: INTERVAL,
      idle: IDLE,
      ...options,
    };
  }

  /** Somebody has asked: probing goes on, or begins. */
  request(): void {
    this.#asked = performance.now();
    this.#probing ??= this.#probe().finally(() => this.#probing = undefined);
  }

  /** Fulfilled when nothing is probed. */
  get idle(): Promise<void> {
    return this.#probing ?? Promise.resolve();
  }

  /** What is known of a peer's round-trip. */
  roundTrip(network: string, subnet: string): RoundTrip | undefined {
    return this.#roundTrips.get(`${network} ${subnet}`);
  }

  /** Who the hosts of a network are. What cannot be had in time is left out. */
  records({ name, store }: AgentView): Promise<ReadonlyMap<IPv4, PeerRecord>> {
    const known = this.#records.get(name);
    if (known !== undefined && performance.now() - known.at < RECORDS_AGE) return known.of;
    // One reading at a time, and none for a moment after one that failed.
    const of = this.#readRecords(store).catch((error) => {
      if (!(error instanceof StoreError || error instanceof DOMException)) throw error;
      const kept = known?.of ?? Promise.resolve(new Map<IPv4, PeerRecord>());
      this.#records.set(name, { at: performance.now() - RECORDS_AGE + RECORDS_RETRY, of: kept });
      return kept;
    });
    this.#records.set(name, { at: performance.now(), of });
    return of;
  }

  async #readRecords(store: AgentView["store"]): Promise<ReadonlyMap<IPv4, PeerRecord>> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(RECORDS_TIME)]);
    const { agents } = await store.snapshot({ signal });
    const of = new Map<IPv4, PeerRecord>();
    for (const { publicIP, record } of agents) {
      const { hostname, version, claims } = record;
      // A claimant is not the holder yet.
      if (claims === undefined) of.set(publicIP, { hostname, version });
    }
    return of;
  }

  /** Sends echoes until nobody has asked for a while, then forgets what came of them. */
  async #probe(): Promise<void> {
    const { openProber, interval, idle } = this.#options;
    try {
      await using prober = openProber();
      while (!this.#signal.aborted && performance.now() - this.#asked < idle) {
        const due = this.#due(Date.now() - interval).slice(0, RATE);
        const started = performance.now();
        await Promise.all(due.map((target) => this.#echo(prober, target)));
        await this.#pause(Math.max(0, 1000 - (performance.now() - started)));
      }
    } catch (error) {
      if (!this.#signal.aborted) {
        verbose(1, `Round-trip times are not measured: ${(error as Error).message}`);
      }
    }
    this.#roundTrips.clear();
    this.#records.clear();
  }

  /** Peers whose last echo was before `before`, as Date.now() tells it; the longest ago first. */
  #due(before: number): { readonly key: string; readonly address: IPv4; readonly time: number }[] {
    const due = [];
    const alive = new Set<string>();
    for (const view of this.#views()) {
      for (const { subnet, address } of probeTargets(view)) {
        const key = `${view.name} ${subnet}`;
        alive.add(key);
        const time = this.#roundTrips.get(key)?.time ?? 0;
        if (time <= before) due.push({ key, address, time });
      }
    }
    for (const key of this.#roundTrips.keys()) if (!alive.has(key)) this.#roundTrips.delete(key);
    return due.sort((a, b) => a.time - b.time);
  }

  async #echo(prober: Echoes, { key, address }: { key: string; address: IPv4 }): Promise<void> {
    let trip = this.#roundTrips.get(key);
    if (trip === undefined) this.#roundTrips.set(key, trip = { sent: 0, lost: 0, time: 0 });
    trip.time = Date.now();
    const [outcome] = await prober.echo([address], { timeout: TIMEOUT, signal: this.#signal });
    take(trip, outcome!);
    if (outcome!.type !== "reply") {
      verbose(2, `No echo from ${formatIPv4(address)}: ${outcome!.type}`);
    }
  }

  /** Waits, and keeps no process alive for that. */
  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, milliseconds);
      Deno.unrefTimer(timer);
      const signal = this.#signal;
      function done() {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  }
}

function take(trip: RoundTrip, outcome: EchoOutcome): void {
  trip.sent++;
  if (outcome.type === "reply") {
    trip.last = outcome.rtt;
    trip.best = Math.min(trip.best ?? Infinity, outcome.rtt);
  } else {
    trip.last = undefined;
    trip.lost++;
  }
}
