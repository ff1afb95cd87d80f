import { assertEquals, assertRejects } from "@std/assert";
import { Broadcast } from "./broadcast.ts";

/** A source that yields what it is given, until its signal aborts. */
function source() {
  const groups = new TransformStream<number[]>();
  const writer = groups.writable.getWriter();
  const state = { ended: 0, aborted: false };
  const broadcast = new Broadcast<number>(
    (signal) => {
      signal.addEventListener("abort", () => state.aborted = true);
      return groups.readable;
    },
    -1,
    () => state.ended++,
  );
  return { broadcast, writer, state };
}

async function take(events: AsyncIterable<number[]>, count: number): Promise<number[]> {
  const taken: number[] = [];
  for await (const group of events) {
    taken.push(...group);
    if (taken.length >= count) break;
  }
  return taken;
}

Deno.test("Broadcast passes every event to every listener, and ends with the last", async () => {
  const { broadcast, writer, state } = source();
  const { signal } = new AbortController();
  const first = take(broadcast.listen(signal), 3);
  await writer.write([1]);
  const late = broadcast.listen(signal);
  await writer.write([2, 3]);
  await writer.write([4]);
  assertEquals(await first, [1, 2, 3]);
  assertEquals(state, { ended: 0, aborted: false });
  assertEquals(await take(late, 3), [2, 3, 4]);
  assertEquals(state, { ended: 1, aborted: true });
});

Deno.test("Broadcast.listen() ends with its signal, iterated or not", async () => {
  const { broadcast, state } = source();
  const [one, other] = [new AbortController(), new AbortController()];
  const waiting = take(broadcast.listen(one.signal), 1);
  broadcast.listen(other.signal);
  one.abort();
  assertEquals([await waiting, state.ended], [[], 0]);
  other.abort();
  assertEquals(state, { ended: 1, aborted: true });
});

Deno.test("Broadcast reports lost events to a listener that is too slow", async () => {
  const { broadcast, writer } = source();
  const { signal } = new AbortController();
  const slow = broadcast.listen(signal);
  for (let i = 0; i < 3; i++) await writer.write(new Array(30_000).fill(i));
  await writer.write([7]);
  await writer.write([]);
  assertEquals(await take(slow, 2), [-1, 7]);
});

Deno.test("Broadcast fails each listener when its source has failed", async () => {
  const { broadcast, writer, state } = source();
  const { signal } = new AbortController();
  const listeners = [0, 1].map(() => take(broadcast.listen(signal), 1));
  await writer.abort(new Error("EBADF"));
  for (const listener of listeners) await assertRejects(() => listener, Error, "EBADF");
  assertEquals(state.ended > 0, true);
});
