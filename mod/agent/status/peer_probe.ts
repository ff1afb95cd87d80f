import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { verbose } from "../../observe/mod.ts";
import { type EchoOutcome, Prober } from "../../probe/mod.ts";
import { StoreError } from "../../store/mod.ts";
import { probeTargets } from "./peers.ts";
import type { AgentView } from "./view.ts";

/** Largest number of echo requests a second, over all peers. */
const RATE = 20;

/** Least interval between echo requests to one peer, in milliseconds. */
const INTERVAL = 15_000;

/** How long probing goes on after the last request, in milliseconds: over two scrapes a minute apart. */
const IDLE = 150_000;

/** Limit for a reply, in milliseconds. */
const TIMEOUT = 2_000;

/** How long node records stay valid after reading, and limit for reading them, in milliseconds. */
const RECORDS_AGE = 30_000;
const RECORDS_TIME = 2_000;

/** Delay before reading them again after a failure, in milliseconds. */
const RECORDS_RETRY = 3_000;

/** Result of the echo requests to one peer's subnet. */
export interface RoundTrip {
  /** Milliseconds; absent when the last request got no reply. */
  last?: number | undefined;
  /** Least round-trip time. */
  best?: number | undefined;
  sent: number;
  lost: number;
  /** When the last request was sent, as Date.now() returns it. */
  time: number;
}

/** Host of a node record. */
export interface PeerRecord {
  readonly hostname: string;
  readonly version: string;
}

/** A read of the node records, pending or done. */
interface Reading {
  /** When it began, as performance.now() returns it. */
  readonly at: number;
  readonly of: Promise<ReadonlyMap<IPv4, PeerRecord>>;
}

/** Sender of echo requests. */
export type EchoProber = Pick<Prober, "echo"> & AsyncDisposable;

/** Options of {@linkcode PeerProbe}. */
export interface PeerProbeOptions {
  /** @default {@linkcode Prober.open} */
  readonly openProber?: () => EchoProber;
  /** Milliseconds. @default 15_000 */
  readonly interval?: number;
  /** Milliseconds. @default 150_000 */
  readonly idle?: number;
}

/**
 * Measures round-trip times through the overlay, and reads the peers' node records, while the status is polled.
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

  /** Continues or starts probing for a request. */
  request(): void {
    this.#asked = performance.now();
    this.#probing ??= this.#probe().finally(() => this.#probing = undefined);
  }

  /** Fulfilled when no probe runs. */
  get idle(): Promise<void> {
    return this.#probing ?? Promise.resolve();
  }

  /** Returns a peer's round-trip. */
  roundTrip(network: string, subnet: string): RoundTrip | undefined {
    return this.#roundTrips.get(`${network} ${subnet}`);
  }

  /** Returns the hosts of a network, without those whose records cannot be read in time. */
  records({ name, store }: AgentView): Promise<ReadonlyMap<IPv4, PeerRecord>> {
    const known = this.#records.get(name);
    if (known !== undefined && performance.now() - known.at < RECORDS_AGE) return known.of;
    // One read at a time, and none for a moment after a failure.
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

  /** Sends echo requests until polling has stopped for a while, then forgets the results. */
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

  /** Peers whose last echo request was before `before`, as Date.now() returns it; the oldest first. */
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

  async #echo(prober: EchoProber, { key, address }: { key: string; address: IPv4 }): Promise<void> {
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
