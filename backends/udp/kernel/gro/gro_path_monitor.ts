import type { IPv4 } from "../../../../mod/ip/mod.ts";
import type { BpfMap } from "../../../../mod/sys/bpf/mod.ts";
import { randomMac } from "../../../../mod/sys/mod.ts";
import type { GroDeviceAddress } from "./gro_device.ts";
import type { ProbeResult } from "./gro_probe.ts";
import {
  FORMER_KEY,
  GroCount,
  groValue,
  MAPS,
  PACKETS_KEY,
  PROBES_KEY,
  readGroSecret,
} from "../programs/layout.ts";

/** Packets lost in a row that close the GRO path: a SYN and its retransmissions within 3 s. */
const MIN_LOST = 3;

/** Milliseconds between probes while the GRO path is closed, before packets were lost despite a passed probe. */
export const FIRST_PAUSE_MS = 30_000;
/** Longest pause; a path that was open for that long starts with the first pause again. */
export const MAX_PAUSE_MS = 3_600_000;

/** Peers whose datagrams are probed at a time: a firewall may pass the datagrams of some peers only. */
const MAX_PROBES = 16;

/** The GRO path is closed; the message gives the reason. */
export class GroPathError extends Error {
  override readonly name = "GroPathError";
}

/** Options of {@linkcode GroPathMonitor}. */
export interface GroPathMonitorOptions {
  /** Name of the GRO device. */
  readonly name: string;
  readonly maps: { readonly gro: BpfMap; readonly groCounts: BpfMap };
  /** Sends a probe as if from each of these peers. */
  readonly probe: (peers: readonly IPv4[]) => ProbeResult;
  /** Milliseconds. @default FIRST_PAUSE_MS */
  readonly pauseMs?: number | undefined;
}

/** Descriptions of what {@linkcode GroPathMonitor.check} finds. */
const FINDINGS = {
  packetsLost: "loses packets",
  probesLost: "loses probes",
  probesPassed: "passes packets again",
} as const;

/** Packets sent to the GRO device and packets that left it, since the maps were created. */
interface GroCounts {
  readonly groSent: number;
  readonly groReceived: number;
}

/**
 * Opens and closes the GRO path: decides whether the decapsulation program sends packets through the GRO device.
 *
 * Packets on the GRO path pass the host's firewall. A rule that drops them stalls TCP connections for seconds. The
 * monitor therefore opens the path only after its own probes have passed. It does not read the firewall's rules:
 * there are three kinds of firewalls, two of them without events, and rules are not all that drops packets.
 *
 * Probes may pass where packets do not: rules can match length, peer or rate. The monitor closes the path when
 * packets are lost, and doubles the pause before the next probe each time.
 */
export class GroPathMonitor {
  readonly #name: string;
  readonly #maps: GroPathMonitorOptions["maps"];
  readonly #probe: GroPathMonitorOptions["probe"];
  readonly #firstPauseMs: number;
  #pauseMs: number;
  #address: GroDeviceAddress | undefined;
  #error: GroPathError | undefined;
  #isOpen = false;
  /** The path was opened without a probe, because there was no peer. */
  #isUnproven = false;
  /** Time of the last opening or probe; `performance.now()`. */
  #since = 0;
  /** Counts when a packet last left the GRO device. */
  #lastReceived: GroCounts | undefined;
  /** Finding of {@linkcode GroPathMonitor.check} for the next {@linkcode GroPathMonitor.reconcile}. */
  #finding: keyof typeof FINDINGS | undefined;

  constructor({ name, maps, probe, pauseMs = FIRST_PAUSE_MS }: GroPathMonitorOptions) {
    this.#name = name;
    this.#maps = maps;
    this.#probe = probe;
    this.#firstPauseMs = pauseMs;
    this.#pauseMs = pauseMs;
  }

  /** Reason why the GRO path is closed although there is a GRO device. */
  get error(): GroPathError | undefined {
    return this.#error;
  }

  /**
   * Writes the device's address to the programs' map. From now on probes may pass, and packets too if the path was
   * open before, also under an earlier agent. Both get a new secret. The former secret stays valid until the next
   * {@linkcode GroPathMonitor.check}.
   *
   * @param address `undefined` without a GRO device
   */
  setAddress(address: GroDeviceAddress | undefined): void {
    const { gro } = this.#maps;
    this.#address = address;
    // Packets that a removed device has lost are no finding about the firewall.
    this.#lastReceived = undefined;
    if (address === undefined) {
      this.#isOpen = false;
      this.#error = undefined;
      for (const key of [PACKETS_KEY, PROBES_KEY, FORMER_KEY]) this.#clear(key);
      return;
    }
    const former = readGroSecret(gro.lookup(PACKETS_KEY)!);
    if (former !== undefined) {
      gro.update(FORMER_KEY, groValue({ ...address, secret: former }));
      this.#open(randomMac());
    }
    gro.update(PROBES_KEY, groValue({ ...address, secret: randomMac() }));
  }

  /**
   * Opens or closes the GRO path by the finding of {@linkcode GroPathMonitor.check}. The programs must be attached.
   *
   * @param peers public IPs of the peers that the kernel carries; called only when probes are due
   */
  reconcile(peers: () => Iterable<IPv4>): void {
    const finding = this.#finding;
    this.#finding = undefined;
    if (this.#address === undefined) return;
    if (this.#isOpen) {
      if (finding !== undefined) this.#close(finding === "packetsLost");
      return;
    }
    const isFirst = this.#error === undefined;
    const result = finding === "probesPassed"
      ? "passed"
      : isFirst
      ? this.#sendProbes(peers)
      : "lost";
    // An unknown result opens a path that has not lost anything yet.
    if (result === "passed" || isFirst && result === "unknown") this.#open(randomMac());
    else if (isFirst) this.#error = this.#closedError();
  }

  /**
   * Checks whether packets that were sent to the GRO device since the last call have left it. While the path is
   * closed, sends probes when the pause is over. A packet that has not left by the next call is lost: only the
   * kernel's stack is between the two counters.
   *
   * @returns the finding that {@linkcode GroPathMonitor.reconcile} acts on, in words; `undefined` without one
   */
  check(peers: () => Iterable<IPv4>): string | undefined {
    if (this.#address === undefined) return undefined;
    // Packets with the former secret have passed by now.
    this.#clear(FORMER_KEY);
    if (this.#isOpen) {
      if (this.#isUnproven && this.#sendProbes(peers) === "lost") this.#finding = "probesLost";
      const counts = this.#maps.groCounts;
      const now = {
        groSent: counts.total(GroCount.groSent),
        groReceived: counts.total(GroCount.groReceived),
      };
      const last = this.#lastReceived;
      if (now.groReceived !== last?.groReceived) this.#lastReceived = now;
      else if (now.groSent - last.groSent >= MIN_LOST) this.#finding = "packetsLost";
    } else if (
      this.#finding === undefined && performance.now() - this.#since >= this.#pauseMs &&
      this.#sendProbes(peers) === "passed"
    ) this.#finding = "probesPassed";
    return this.#finding && `device ${this.#name} ${FINDINGS[this.#finding]}`;
  }

  /** Sends probes; without peers there is nothing to send, and nothing to lose. */
  #sendProbes(peers: () => Iterable<IPv4>): ProbeResult {
    this.#since = performance.now();
    const sampled = sample([...peers()], MAX_PROBES);
    this.#isUnproven = sampled.length === 0;
    return this.#isUnproven ? "passed" : this.#probe(sampled);
  }

  #open(secret: string): void {
    this.#maps.gro.update(PACKETS_KEY, groValue({ ...this.#address!, secret }));
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#error = undefined;
    this.#since = performance.now();
    this.#lastReceived = undefined;
  }

  /** @param hasLostPackets packets were lost although probes had passed */
  #close(hasLostPackets: boolean): void {
    this.#clear(PACKETS_KEY);
    this.#isOpen = false;
    this.#error = this.#closedError();
    const now = performance.now();
    if (hasLostPackets) {
      this.#pauseMs = nextPause(this.#pauseMs, now - this.#since, this.#firstPauseMs);
    }
    this.#since = now;
  }

  #clear(key: Uint8Array): void {
    this.#maps.gro.update(key, new Uint8Array(MAPS.gro.valueSize));
  }

  #closedError(): GroPathError {
    return new GroPathError(
      `no packet leaves ${this.#name}: a firewall rule or the reverse path filter drops datagrams that ` +
        "peers send to flannel's UDP port; probing again until they pass",
    );
  }
}

/**
 * Pause before the next probe after a path was closed that lost packets. All values in milliseconds.
 *
 * @param pauseMs the former pause
 * @param openMs how long the path was open
 */
export function nextPause(
  pauseMs: number,
  openMs: number,
  firstPauseMs = FIRST_PAUSE_MS,
): number {
  return openMs >= MAX_PAUSE_MS ? firstPauseMs : Math.min(pauseMs * 2, MAX_PAUSE_MS);
}

/** Returns up to `count` random elements, each at most once. Reorders `all`. */
function sample<T>(all: T[], count: number): T[] {
  for (let i = 0; i < Math.min(count, all.length - 1); i++) {
    const j = i + Math.floor(Math.random() * (all.length - i));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all.slice(0, count);
}
