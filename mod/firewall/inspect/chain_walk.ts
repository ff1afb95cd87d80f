/**
 * Reads what chains do with one packet, without sending it. A rule that cannot be read (a set of
 * addresses elsewhere, a mark, a rate) may have let the packet pass: only drops that are certain count.
 *
 * @module
 */
import type { IPv4 } from "../../ip/mod.ts";

/** The first packet of a connection. */
export interface ProbePacket {
  readonly hook: "input" | "forward";
  /** Device that it comes in by; `undefined` when not known. */
  readonly inDevice?: string | undefined;
  /** Device that it leaves by; `undefined` when not known. Empty in `input`. */
  readonly outDevice?: string | undefined;
  readonly source: IPv4;
  readonly destination: IPv4;
  readonly protocol: "udp" | "tcp";
  /** Destination port. */
  readonly port: number;
}

/** Whether a rule matches; `undefined` when that cannot be read. */
export type Match = boolean | undefined;

/** The action of a rule on a packet that it matches. */
export type Action =
  | { readonly type: "accept" | "drop" | "return" | "continue" }
  /** It may accept the packet. */
  | { readonly type: "unknown" }
  | { readonly type: "jump" | "goto"; readonly chain: string };

/** Reads one rule for a packet. */
export type ReadRule = (packet: ProbePacket) => {
  readonly matches: Match;
  readonly action: Action;
};

/** A chain that can be walked. */
export interface ReadChain {
  /** The fate of packets at its end; absent in chains that others jump to. */
  readonly policy?: "accept" | "drop";
  readonly rules: readonly ReadRule[];
}

/** Rule or policy that drops or rejects a packet. */
export interface Drop {
  /** The chain that does it. */
  readonly chain: string;
  /** By its policy, not by a rule. */
  readonly byPolicy: boolean;
  /** The chains that the packet went through, in their order. */
  readonly path: readonly string[];
}

/** Deeper than the kernel allows jumps (NFT_JUMP_STACK_SIZE of linux/netfilter/nf_tables.h is 16). */
const DEEPEST = 32;

/** Rules that are read at most: the walk of a host with more takes longer than its answer is worth. */
const MAX_STEPS = 200_000;

/**
 * Walks a packet through a base chain and the chains that it jumps to.
 *
 * @param base name of the base chain
 * @returns `undefined` when the packet passes, or when it cannot be read whether it does
 */
export function findDrop(
  chains: ReadonlyMap<string, ReadChain>,
  base: string,
  packet: ProbePacket,
): Drop | undefined {
  const walk = new Walk(chains, packet);
  const isDecided = walk.enter(base, 0, true);
  const byPolicy = !isDecided && chains.get(base)?.policy === "drop";
  if (walk.mayPass || (walk.dropped === undefined && !byPolicy)) return undefined;
  return { chain: walk.dropped ?? base, byPolicy, path: walk.path };
}

class Walk {
  readonly path: string[] = [];
  /** The chain that drops the packet for certain. */
  dropped: string | undefined;
  mayPass = false;
  #steps = 0;

  constructor(
    private readonly chains: ReadonlyMap<string, ReadChain>,
    private readonly packet: ProbePacket,
  ) {}

  /**
   * @param isCertain false when the packet comes here by a rule that cannot be read
   * @returns true when the packet goes no further
   */
  enter(name: string, depth: number, isCertain: boolean): boolean {
    if (depth > DEEPEST) this.mayPass = true;
    if (isCertain) this.path.push(name);
    for (const rule of this.chains.get(name)?.rules ?? []) {
      if (this.#steps++ > MAX_STEPS) this.mayPass = true;
      // Nothing that follows makes a drop certain again.
      if (this.mayPass) return false;
      const { matches, action } = rule(this.packet);
      if (matches === false) continue;
      const isSure = isCertain && matches === true;
      switch (action.type) {
        case "accept":
        case "unknown":
          this.mayPass = true;
          return isSure;
        case "drop":
          if (isSure) this.dropped = name;
          if (matches) return isSure;
          break;
        case "return":
          if (matches) return false;
          // The rules that follow are perhaps not reached.
          this.mayPass = true;
          break;
        case "jump":
          if (this.enter(action.chain, depth + 1, isSure)) return true;
          break;
        case "goto":
          if (this.enter(action.chain, depth + 1, isSure)) return true;
          if (matches) return false;
          this.mayPass = true;
      }
    }
    return false;
  }
}
