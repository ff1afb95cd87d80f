import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "../../agent/testing/time_lab.ts";
import type { Cursor, NetworkStore } from "../mod.ts";

/** Pauses of a watch with its first backoff of 100 ms, as {@linkcode reconnectDelay} bounds them. */
const FIRST_BACKOFF = 100;

/** Losses after which the history stays. */
const ROUNDS = 4;

/** Actions of {@linkcode loseInARow} on a store's server. */
export interface LossOfHistory {
  readonly store: NetworkStore;
  /** Where a watch begins that finds its history lost. */
  readonly cursor: Cursor;
  /** Loses the history that comes after a snapshot, once. */
  readonly lose: () => Promise<void>;
  /** Changes something of the store. */
  readonly change: () => Promise<unknown>;
}

/**
 * Loses a watch's history again each time that it was read: the first time it is read again at once,
 * then after pauses that grow. In the end the watch goes on.
 */
export async function loseInARow({ store, cursor, lose, change }: LossOfHistory): Promise<void> {
  using time = new FakeTime({ by: /async\/sleep\.ts/ });
  const stop = new AbortController();
  let [resyncs, changes] = [0, 0];
  const watching = (async () => {
    for await (const item of store.watch(cursor, { signal: stop.signal })) {
      if (item.type === "changes") changes++;
      else if (++resyncs <= ROUNDS) await lose();
    }
  })();
  try {
    for (let round = 1; round <= ROUNDS; round++) {
      await until(() => time.planned.length > 0 || resyncs > round);
      assertEquals(resyncs, round);
      const [pause] = time.planned;
      const most = FIRST_BACKOFF * (round === 1 ? 10 : 2 ** (round - 1));
      assert(
        pause! >= (round === 1 ? 0 : most / 2) && pause! <= most,
        `${pause} ms in round ${round}`,
      );
      time.tick(most);
    }
    await until(() => resyncs > ROUNDS);
    await change();
    await until(() => changes > 0);
    assertEquals(resyncs, ROUNDS + 1);
    assertEquals(time.planned, []);
  } finally {
    stop.abort();
    await watching;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 8_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 8 s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
