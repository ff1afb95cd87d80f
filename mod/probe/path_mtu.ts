import type { IPv4 } from "../ip/mod.ts";
import type { Echo } from "./prober.ts";

/** Packet size that every host must accept, RFC 791. A host without a reply to it answers no echo request. */
const LEAST = 576;
/** Sizes per round: with 16 a range of 4,096 takes three rounds. */
const WAYS = 16;
/** Echo requests of each size, so that a lost packet does not count as too large. */
const COPIES = 2;

/** Options of {@linkcode measurePathMtu}. */
export interface PathMtuOptions {
  /** The size that should fit, in bytes with the IP header: the device's MTU. */
  readonly limit: number;
  /** Milliseconds to wait for a reply in each round. @default 500 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** Result of {@linkcode measurePathMtu}. */
export interface PathMtu {
  /** The largest answered packet, in bytes with the IP header. */
  readonly mtu: number;
  /** The node that reported the MTU by ICMP (this host when `"here"`); absent: larger packets vanish. */
  readonly reportedBy?: IPv4 | "here";
}

/**
 * Measures the largest packet to an address. Sends a packet of the expected size with DF; without a reply, or
 * after an ICMP error, searches between the smallest size and the expected one.
 *
 * @returns `undefined` when the address answers no size
 * @throws the signal's reason when it aborts
 */
export async function measurePathMtu(
  prober: Echo,
  address: IPv4,
  { limit, timeout = 500, signal }: PathMtuOptions,
): Promise<PathMtu | undefined> {
  let reportedBy: IPv4 | "here" | undefined;
  let reported = limit;

  /** Returns the answered sizes. */
  const attempt = async (sizes: readonly number[]): Promise<Set<number>> => {
    const outcomes = await Promise.all(
      sizes.map((size) =>
        prober.echo(new Array(COPIES).fill(address), {
          ...{ size, dontFragment: true, timeout },
          ...(signal === undefined ? {} : { signal }),
        })
      ),
    );
    for (const outcome of outcomes.flat()) {
      if (outcome.type !== "too-big" || outcome.mtu >= reported || outcome.mtu < LEAST) continue;
      reported = outcome.mtu;
      reportedBy = outcome.by ?? "here";
    }
    return new Set(
      sizes.filter((_, index) => outcomes[index]!.some(({ type }) => type === "reply")),
    );
  };

  let [works, fails] = [0, limit + 1];
  const take = (sizes: readonly number[], answered: ReadonlySet<number>) => {
    works = Math.max(works, ...answered);
    fails = Math.min(fails, ...sizes.filter((size) => size > works && !answered.has(size)));
  };
  // Most paths carry the expected size, or report their MTU.
  for (let size = limit; works < size; size = reported) {
    take([size], await attempt([size]));
    if (works === size) return { mtu: size, ...(reportedBy === undefined ? {} : { reportedBy }) };
    if (reported >= size) break;
  }
  while (fails - works > 1) {
    const floor = works === 0 ? Math.min(LEAST, limit) : works + 1;
    const sizes = spread(floor, fails - 1);
    const answered = await attempt(sizes);
    if (works === 0 && answered.size === 0) return undefined;
    take(sizes, answered);
  }
  const isReported = reportedBy !== undefined && reported === works;
  return { mtu: works, ...(isReported && reportedBy !== undefined ? { reportedBy } : {}) };
}

/** Returns at most {@linkcode WAYS} evenly spread sizes from `first` to `last`, both included. */
function spread(first: number, last: number): number[] {
  if (last < first) return [first];
  const steps = Math.min(WAYS - 1, last - first);
  if (steps === 0) return [first];
  return Array.from(
    { length: steps + 1 },
    (_, i) => first + Math.round((last - first) * i / steps),
  );
}
