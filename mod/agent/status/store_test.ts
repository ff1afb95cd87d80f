import { assertEquals, assertRejects } from "@std/assert";
import { parseIPv4 } from "../../ip/mod.ts";
import { ConflictError, type NetworkStore, StoreError } from "../../store/mod.ts";
import { observedStore } from "./store.ts";
import { AgentMetrics } from "./agent_metrics.ts";

/** A store with private members, as the adapters are, of which this test needs three methods. */
class Fake implements Pick<NetworkStore, "name" | "agent" | "lease" | "watch" | "reconnect"> {
  readonly name = "fake";
  #reconnects = 0;

  get reconnects(): number {
    return this.#reconnects;
  }

  agent(): Promise<undefined> {
    return this.#reconnects > 0
      ? Promise.reject(new StoreError("down"))
      : Promise.resolve(undefined);
  }

  lease(): Promise<never> {
    return Promise.reject(new ConflictError("taken"));
  }

  reconnect(): void {
    this.#reconnects++;
  }

  async *watch(
    ...[, { onState }]: Parameters<NetworkStore["watch"]>
  ): ReturnType<NetworkStore["watch"]> & AsyncGenerator {
    onState?.(new Error("broken"));
    yield { type: "changes", changes: [{ type: "config", config: { text: "" } }], cursor: "1" };
    onState?.(undefined);
    yield await Promise.resolve({ type: "resync", reason: "", snapshot: null as never });
  }
}

Deno.test("observedStore() counts round trips, and conflicts as answers", async () => {
  const fake = new Fake();
  const metrics = new AgentMetrics();
  const store = observedStore(fake as unknown as NetworkStore, metrics);
  assertEquals(store.name, "fake");
  assertEquals(await store.agent(parseIPv4("10.0.0.1")!), undefined);
  store.reconnect();
  assertEquals(fake.reconnects, 1);
  await assertRejects(() => store.agent(1), StoreError, "down");
  await assertRejects(() => store.lease(null as never), ConflictError);
  const counts = Array.from(
    metrics.calls,
    ([name, { durations, errors }]) => [name, durations.count, errors],
  );
  assertEquals(counts, [["agent", 2, 1], ["lease", 1, 0]]);
});

Deno.test("observedStore() counts the items of the watch, and passes them on", async () => {
  const metrics = new AgentMetrics();
  const store = observedStore(new Fake() as unknown as NetworkStore, metrics);
  const states: (string | undefined)[] = [];
  const seen: unknown[] = [];
  const { signal } = new AbortController();
  const onState = (error: Error | undefined) => states.push(error?.message);
  for await (const { type } of store.watch("0", { signal, onState })) {
    seen.push([type, metrics.watch!.error]);
  }
  assertEquals(states, ["broken", undefined]);
  assertEquals(seen, [["changes", "broken"], ["resync", undefined]]);
  assertEquals([...metrics.changes.entries()], [["config", 1], ["resync", 1]]);
});
