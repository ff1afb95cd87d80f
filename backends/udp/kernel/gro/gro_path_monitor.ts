import type { IPv4 } from "../../../../mod/ip/mod.ts";
import type { BpfMap } from "../../../../mod/sys/bpf/mod.ts";
import { randomMac } from "../../../../mod/sys/mod.ts";
import type { Place } from "./gro_device.ts";
import type { ProbeResult } from "./gro_probe.ts";
import {
  FORMER_KEY,
  HOP_KEY,
  hopValue,
  MAPS,
  Passage,
  PROBE_KEY,
  readHopSecret,
} from "../programs/layout.ts";

/** Packets in a row that have to be lost for that to mean something: a SYN and what is sent again in 3 s. */
const ENOUGH = 3;

/** From one probe to the next while the hop is closed, in milliseconds, unless probes were wrong before. */
export const FIRST_PAUSE = 30_000;
/** The longest pause, and for how long a hop has to be of use for its past to be forgotten. */
export const LONGEST_PAUSE = 3_600_000;

/** Peers that are asked for at a time: what a firewall lets through it may let through of some peers only. */
const MOST_PROBES = 16;

/** A hop cannot be used; the message says why. */
export class HopError extends Error {
  override readonly name = "HopError";
}

/** What a {@linkcode HopGate} works on. */
export interface HopGateOptions {
  /** Of the hop's device. */
  readonly name: string;
  readonly maps: { readonly hop: BpfMap; readonly passages: BpfMap };
  /** Sends a probe for each of these peers. */
  readonly probe: (peers: readonly IPv4[]) => ProbeResult;
  /** @default FIRST_PAUSE */
  readonly pause?: number | undefined;
}

/** What can be seen of a hop. */
const WORDS = {
  swallows: "swallows packets",
  refuses: "swallows probes",
  passes: "passes packets again",
} as const;

/** How many packets were dressed for the hop, and how many came out of it, since the maps were made. */
interface Passages {
  readonly dressed: number;
  readonly arrived: number;
}

/**
 * Whether packets are sent by the hop.
 *
 * Between going in and coming out they meet the host's firewall, and what that drops of a TCP connection stalls
 * it for seconds. So nobody's packets are staked on it: a hop is opened, and opened again after it was
 * closed, when probes of our own have passed. They are asked rather than the firewall, of which
 * there are three kinds, two of them without events, and which is not all that may be in the way.
 *
 * Probes may pass where packets do not: rules can go by length, by peer, by rate. That shows in what is lost,
 * and closes the hop again; each time the pause before the next probe doubles.
 */
export class HopGate {
  readonly #name: string;
  readonly #maps: HopGateOptions["maps"];
  readonly #probe: HopGateOptions["probe"];
  readonly #firstPause: number;
  #pause: number;
  #place: Place | undefined;
  #error: HopError | undefined;
  #isOpen = false;
  /** Open since there was no peer yet to send a probe for. */
  #isUnproven = false;
  /** When it was opened, or when probes were sent last; `performance.now()`. */
  #since = 0;
  /** As it was when packets last came out. */
  #lastArrival: Passages | undefined;
  /** What {@linkcode HopGate.look} has seen, for the next {@linkcode HopGate.settle}. */
  #seen: keyof typeof WORDS | undefined;

  constructor({ name, maps, probe, pause = FIRST_PAUSE }: HopGateOptions) {
    this.#name = name;
    this.#maps = maps;
    this.#probe = probe;
    this.#firstPause = pause;
    this.#pause = pause;
  }

  /** Why the hop is closed, where there is one. */
  get error(): HopError | undefined {
    return this.#error;
  }

  /**
   * Writes the device's address to the programs' map. Probes may go there from now on, packets when they did before,
   * also under an earlier agent. Both get a new secret: a former one is useless once the next
   * {@linkcode HopGate.look} has withdrawn it.
   *
   * @param place `undefined` where there is none
   */
  lead(place: Place | undefined): void {
    const { hop } = this.#maps;
    this.#place = place;
    // What went into a hop that has been put back since is lost by whoever took it, and no firewall.
    this.#lastArrival = undefined;
    if (place === undefined) {
      this.#isOpen = false;
      this.#error = undefined;
      for (const key of [HOP_KEY, PROBE_KEY, FORMER_KEY]) this.#clear(key);
      return;
    }
    const former = readHopSecret(hop.lookup(HOP_KEY)!);
    if (former !== undefined) {
      hop.update(FORMER_KEY, hopValue({ ...place, secret: former }));
      this.#open(randomMac());
    }
    hop.update(PROBE_KEY, hopValue({ ...place, secret: randomMac() }));
  }

  /**
   * Opens or closes the hop by what is known, when the programs are attached.
   *
   * @param peers public IPs that packets may come from, asked for when they are needed
   */
  settle(peers: () => Iterable<IPv4>): void {
    const seen = this.#seen;
    this.#seen = undefined;
    if (this.#place === undefined) return;
    if (this.#isOpen) {
      if (seen !== undefined) this.#close(seen === "swallows");
      return;
    }
    // The first time nobody has seen it swallow anything.
    const isFirst = this.#error === undefined;
    const result = seen === "passes" ? "passed" : isFirst ? this.#ask(peers) : "swallowed";
    if (result === "passed" || isFirst && result === "unknown") this.#open(randomMac());
    else if (isFirst) this.#error = this.#refusal();
  }

  /**
   * Looks whether packets that went in have come out since the last call, or, while the hop is closed and when
   * it is time, whether probes do. What is not there at the next call is lost for good: only the
   * stack is between.
   *
   * @returns what {@linkcode HopGate.settle} is to act upon
   */
  look(peers: () => Iterable<IPv4>): string | undefined {
    if (this.#place === undefined) return undefined;
    // Packets with the former secret have passed: only the stack is between the two programs.
    this.#clear(FORMER_KEY);
    if (this.#isOpen) {
      if (this.#isUnproven && this.#ask(peers) === "swallowed") this.#seen = "refuses";
      const counts = this.#maps.passages;
      const passages = {
        dressed: counts.total(Passage.dressed),
        arrived: counts.total(Passage.arrived),
      };
      const last = this.#lastArrival;
      if (passages.arrived !== last?.arrived) this.#lastArrival = passages;
      else if (passages.dressed - last.dressed >= ENOUGH) this.#seen = "swallows";
    } else if (this.#seen === undefined && performance.now() - this.#since >= this.#pause) {
      if (this.#ask(peers) === "passed") this.#seen = "passes";
    }
    return this.#seen === undefined ? undefined : `device ${this.#name} ${WORDS[this.#seen]}`;
  }

  /** Sends probes. Without peers there is nothing to be swallowed. */
  #ask(peers: () => Iterable<IPv4>): ProbeResult {
    this.#since = performance.now();
    const some = sample([...peers()], MOST_PROBES);
    this.#isUnproven = some.length === 0;
    return this.#isUnproven ? "passed" : this.#probe(some);
  }

  #open(secret: string): void {
    this.#maps.hop.update(HOP_KEY, hopValue({ ...this.#place!, secret }));
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#error = undefined;
    this.#since = performance.now();
    this.#lastArrival = undefined;
  }

  /** @param misled packets were lost, whatever probes had said */
  #close(misled: boolean): void {
    this.#clear(HOP_KEY);
    this.#isOpen = false;
    this.#error = this.#refusal();
    const now = performance.now();
    if (misled) this.#pause = nextPause(this.#pause, now - this.#since, this.#firstPause);
    this.#since = now;
  }

  #clear(key: Uint8Array): void {
    this.#maps.hop.update(key, new Uint8Array(MAPS.hop.valueSize));
  }

  #refusal(): HopError {
    return new HopError(
      `nothing comes out of ${this.#name}: a firewall rule or the reverse path filter drops datagrams that ` +
        `peers send to flannel's UDP port; it will be used when they pass`,
    );
  }
}

/**
 * How long probes wait after a hop was closed that was open for some time, all in milliseconds.
 *
 * @param pause the former one
 */
export function nextPause(pause: number, wasOpen: number, first = FIRST_PAUSE): number {
  return wasOpen >= LONGEST_PAUSE ? first : Math.min(pause * 2, LONGEST_PAUSE);
}

/** Some elements at random, each once; all when there are no more than `most`. */
function sample<T>(all: T[], most: number): T[] {
  for (let i = 0; i < Math.min(most, all.length - 1); i++) {
    const j = i + Math.floor(Math.random() * (all.length - i));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all.slice(0, most);
}
