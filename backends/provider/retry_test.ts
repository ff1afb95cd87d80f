import { assertEquals, assertRejects } from "@std/assert";
import { abortable } from "../../mod/async/abortable.ts";
import { ProviderError, type ProviderErrorKind } from "./errors.ts";
import { retry } from "./retry.ts";

const never = new AbortController().signal;

/** Fails so often, then returns how often it was called. */
function failing(times: number, kind: ProviderErrorKind) {
  let calls = 0;
  return () => {
    calls++;
    return calls > times
      ? Promise.resolve(calls)
      : Promise.reject(new ProviderError(kind, `failure ${calls}`));
  };
}

Deno.test("retry() repeats what passes, and nothing else", async () => {
  for (const kind of ["throttled", "unavailable"] as const) {
    assertEquals(await retry(failing(4, kind), { signal: never, random: () => 0 }), 5);
  }
  for (const kind of ["denied", "missing", "exists", "limit", "unsuitable"] as const) {
    const call = failing(4, kind);
    await assertRejects(() => retry(call, { signal: never }), ProviderError, "failure 1");
  }
  const defect = new TypeError("defect");
  await assertRejects(() => retry(() => Promise.reject(defect), { signal: never }), TypeError);
});

Deno.test("retry() throws the last failure when the time is over, and the reason of who gave up", async () => {
  const signal = AbortSignal.timeout(100);
  await assertRejects(
    () => retry(failing(Infinity, "throttled"), { signal, random: () => 0.999 }),
    ProviderError,
    // The time is over within the first wait of 250 ms.
    "failure 1",
  );
  // Of calls that end with the signal.
  for (const failures of [0, 1]) {
    const signal = AbortSignal.timeout(50);
    const fail = failing(failures, "unavailable");
    const call = async () => {
      if (await fail() > failures) await abortable(new Promise<never>(() => {}), signal);
    };
    await assertRejects(
      () => retry(call, { signal, random: () => 0 }),
      ProviderError,
      failures === 0 ? "no answer from the provider in time" : "failure 1",
    );
  }
  const ending = new AbortController();
  setTimeout(() => ending.abort(new Error("the end")), 20);
  await assertRejects(
    () => retry(failing(Infinity, "unavailable"), { signal: ending.signal, random: () => 0.999 }),
    Error,
    "the end",
  );
});

Deno.test("retry() waits at random within a bound that doubles up to 8 s", async () => {
  const bounds: number[] = [];
  const setTimer = globalThis.setTimeout;
  // deno-lint-ignore no-explicit-any
  (globalThis as any).setTimeout = (run: () => void, wait: number) => {
    bounds.push(wait);
    return setTimer(run, 0);
  };
  try {
    await retry(failing(8, "throttled"), { signal: never, random: () => 0.5 });
  } finally {
    globalThis.setTimeout = setTimer;
  }
  assertEquals(bounds, [125, 250, 500, 1000, 2000, 4000, 4000, 4000]);
});
