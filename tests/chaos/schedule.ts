import type { GuideBackend } from "../e2e/guide.ts";
import { BACKENDS } from "../e2e/guide.ts";
import { randomFrom } from "../lab/random.ts";
import type { FaultTraits, StoreKind } from "./fault.ts";

/** Most faults of one round. */
const MOST = 3;

/** A fault with its time and place. */
export interface PlannedFault {
  readonly name: string;
  /** Index of the host. */
  readonly host: number;
  /** Milliseconds from the begin of the round. */
  readonly delayMs: number;
  /** Milliseconds from the end of the injection. */
  readonly holdMs: number;
  /** For what the fault chooses itself. */
  readonly seed: number;
}

/** Faults that overlap, and the calm after them. */
export interface Round {
  /** Counts from 1. */
  readonly number: number;
  readonly faults: readonly PlannedFault[];
  /** Milliseconds in which nothing happens, once the cluster has recovered. */
  readonly calmMs: number;
}

/** Where a schedule is for. */
export interface SchedulePlace {
  readonly store: StoreKind;
  readonly backend: GuideBackend["type"];
  readonly hosts: number;
  readonly isLong: boolean;
}

/** The backend of a seed's cluster. */
export function backendOf(seed: number): GuideBackend {
  return BACKENDS[randomFrom(seed ^ 0x5eed)(BACKENDS.length)]!;
}

/**
 * Deals all faults that can happen in a place, then all again in another order, without an end. The same
 * seed and place give the same rounds.
 */
export function* scheduleOf(
  seed: number,
  faults: readonly FaultTraits[],
  { store, backend, hosts, isLong }: SchedulePlace,
): Generator<Round> {
  const possible = faults.filter((fault) =>
    fault.stores.includes(store) && (fault.backends?.includes(backend) ?? true)
  );
  if (possible.length === 0) throw new RangeError(`no fault can happen on ${store} by ${backend}`);
  const random = randomFrom(seed);
  let deck: FaultTraits[] = [];
  for (let number = 1;; number++) {
    if (deck.length === 0) deck = shuffle(possible, random);
    const wanted = 1 + random(MOST);
    const dealt: PlannedFault[] = [];
    const taken = new Set<string>();
    const rest: FaultTraits[] = [];
    for (const fault of deck) {
      const places = dealt.length < wanted ? placesOf(fault, { store, hosts, taken }, random) : [];
      if (places.length === 0) {
        rest.push(fault);
        continue;
      }
      for (const place of places) taken.add(place);
      const [short, long] = fault.holdMs;
      const hold = isLong ? long : short;
      dealt.push({
        name: fault.name,
        host: hostOf(places) ?? random(hosts),
        delayMs: dealt.length === 0 ? 0 : random(Math.min(hold, 4_000)),
        holdMs: Math.round(hold * (0.75 + random(500) / 1_000)),
        seed: random(0x7fffffff),
      });
    }
    deck = rest;
    yield { number, faults: dealt, calmMs: (isLong ? 3_000 : 1_500) + random(1_500) };
  }
}

/** Returns a fault's exclusive resources; nothing when another fault of the round has one. */
function placesOf(
  { scope }: FaultTraits,
  { store, hosts, taken }: { store: StoreKind; hosts: number; taken: ReadonlySet<string> },
  random: (below: number) => number,
): string[] {
  if (taken.has("cluster") || (scope === "cluster" && taken.size > 0)) return [];
  if (scope === "cluster") return ["cluster"];
  // The embedded store is in the first host's agent.
  const ofStore = store === "embedded" ? ["store", "host 0"] : ["store"];
  if (scope === "store") return ofStore.some((place) => taken.has(place)) ? [] : ofStore;
  const free = Array.from({ length: hosts }, (_, i) => `host ${i}`).filter((place) =>
    !taken.has(place) && !(place === "host 0" && store === "embedded" && taken.has("store"))
  );
  // Two are to be left between which pings count.
  if (free.length <= 2) return [];
  const place = free[random(free.length)]!;
  return place === "host 0"
    ? [place, ...ofStore.filter((one) => store === "embedded" && one !== place)]
    : [place];
}

function hostOf([first]: readonly string[]): number | undefined {
  const index = /^host (\d+)$/.exec(first ?? "")?.[1];
  return index === undefined ? undefined : Number(index);
}

function shuffle<T>(values: readonly T[], random: (below: number) => number): T[] {
  const shuffled = [...values];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
  }
  return shuffled;
}

/** A round in a line. */
export function formatRound({ number, faults, calmMs }: Round): string {
  const parts = faults.map(({ name, host, delayMs, holdMs }) =>
    `+${seconds(delayMs)} ${name} (host ${host}) for ${seconds(holdMs)}`
  );
  return `round ${number}: ${parts.join("; ")}; then calm for ${seconds(calmMs)}`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
