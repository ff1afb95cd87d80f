import type { IPv4 } from "../ip/mod.ts";
import type { Echo } from "./prober.ts";

/** What every host must be able to receive, RFC 791: who answers no echo of this size answers none. */
const LEAST = 576;
/** Sizes that are tried at a time: with 16 a range of 4,096 is done in three rounds. */
const WAYS = 16;
/** Echoes of each size, so that one that is lost does not count for one that did not fit. */
const COPIES = 2;

/** Options of {@linkcode measurePathMtu}. */
export interface PathMtuOptions {
  /** The size that should fit, in bytes with the IP header: the device's MTU. */
  readonly limit: number;
  /** Milliseconds to wait for a reply in each round. @default 500 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** What {@linkcode measurePathMtu} found. */
export interface PathMtu {
  /** The largest packet that is answered, in bytes with the IP header. */
  readonly mtu: number;
  /** The node that told the size by ICMP (this host when `"here"`); absent: packets just vanish. */
  readonly toldBy?: IPv4 | "here";
}

/**
 * Measures how large a packet to an address may be: first one of the size that should fit, with DF;
 * when no reply comes to that, or it is said that it does not fit, others between.
 *
 * @returns `undefined` when not even the smallest is answered
 * @throws the signal's reason when it aborts
 */
export async function measurePathMtu(
  prober: Echo,
  address: IPv4,
  { limit, timeout = 500, signal }: PathMtuOptions,
): Promise<PathMtu | undefined> {
  let toldBy: IPv4 | "here" | undefined;
  let told = limit;

  /** Which of the sizes were answered. */
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
      if (outcome.type !== "too-big" || outcome.mtu >= told || outcome.mtu < LEAST) continue;
      told = outcome.mtu;
      toldBy = outcome.by ?? "here";
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
  // Most paths carry what they should, or say what they carry.
  for (let size = limit; works < size; size = told) {
    take([size], await attempt([size]));
    if (works === size) return { mtu: size, ...(toldBy === undefined ? {} : { toldBy }) };
    if (told >= size) break;
  }
  while (fails - works > 1) {
    const floor = works === 0 ? Math.min(LEAST, limit) : works + 1;
    const sizes = spread(floor, fails - 1);
    const answered = await attempt(sizes);
    if (works === 0 && answered.size === 0) return undefined;
    take(sizes, answered);
  }
  const isTold = toldBy !== undefined && told === works;
  return { mtu: works, ...(isTold && toldBy !== undefined ? { toldBy } : {}) };
}

/** Up to {@linkcode WAYS} sizes from `first` to `last`, both included, evenly spread. */
function spread(first: number, last: number): number[] {
  if (last < first) return [first];
  const steps = Math.min(WAYS - 1, last - first);
  if (steps === 0) return [first];
  return Array.from(
    { length: steps + 1 },
    (_, i) => first + Math.round((last - first) * i / steps),
  );
}
