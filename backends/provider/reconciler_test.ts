import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Prefix } from "../../mod/ip/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { ProviderError, type ProviderErrorKind } from "./errors.ts";
import type { ProviderRoute, RouteProvider, RouteTable, Survey } from "./provider.ts";
import { RouteReconciler } from "./reconciler.ts";

const OWN = Prefix.parse("10.20.1.0/24")!;
const WANTED = { own: OWN, networks: [Prefix.parse("10.20.0.0/16")!], subnetLen: 24 };
const { signal } = new AbortController();

/** A provider that is a few arrays. */
class MemoryProvider implements RouteProvider {
  readonly tables = new Map<string, ProviderRoute[]>();
  /** By call and table, what it fails with: `create a`. */
  readonly failures = new Map<string, ProviderErrorKind>();
  readonly calls: string[] = [];

  constructor(tables: Readonly<Record<string, readonly ProviderRoute[]>>) {
    for (const [id, routes] of Object.entries(tables)) this.tables.set(id, [...routes]);
  }

  async survey(signal: AbortSignal): Promise<Survey> {
    await this.#call("survey", signal);
    return {
      self: "self",
      tables: [...this.tables].map(([id, routes]) => ({ id, routes: [...routes] })),
      settings: [],
      obstacles: [],
    };
  }

  async create({ id }: RouteTable, destination: Prefix, signal: AbortSignal): Promise<void> {
    await this.#call(`create ${id}`, signal);
    this.tables.get(id)!.push({ destination, target: "own", via: "self" });
  }

  async replace(table: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    await this.#call(`replace ${table.id}`, signal);
    const routes = this.tables.get(table.id)!;
    routes[routes.indexOf(route)] = { ...route, target: "own", via: "self" };
  }

  async remove({ id }: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    await this.#call(`remove ${id}`, signal);
    this.tables.set(id, this.tables.get(id)!.filter((one) => one !== route));
  }

  #call(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(name);
    const kind = this.failures.get(name);
    return kind === undefined
      ? Promise.resolve()
      : Promise.reject(new ProviderError(kind, `${name} has failed`));
  }
}

const stale = (text: string, target: ProviderRoute["target"]): ProviderRoute => ({
  ...{ destination: Prefix.parse(text)!, target, via: "x" },
});

Deno.test("RouteReconciler.reconcile() does in each table what it can, whatever fails in another", async () => {
  using log = captureLog();
  const provider = new MemoryProvider({
    a: [stale("10.20.5.0/24", "gone")],
    b: [stale("10.20.1.0/24", "other")],
    c: [],
  });
  provider.failures.set("remove a", "denied").set("replace b", "limit");
  const reconciler = new RouteReconciler(provider);
  assertEquals(await reconciler.reconcile(WANTED, signal), { passing: 0, lasting: 2 });
  assertEquals([...reconciler.state.tables], [
    ["a", "active"],
    ["b", "replace b has failed"],
    ["c", "active"],
  ]);
  assertEquals(log.lines.filter((line) => line.startsWith("W")).length, 2);

  // Logged once; not again after it was fixed.
  await reconciler.reconcile(WANTED, signal);
  assertEquals(log.lines.filter((line) => line.startsWith("W")).length, 2);
  provider.failures.clear();
  assertEquals(await reconciler.reconcile(WANTED, signal), { passing: 0, lasting: 0 });
  assertEquals([...reconciler.state.tables.values()], ["active", "active", "active"]);
  provider.calls.length = 0;
  await reconciler.reconcile(WANTED, signal);
  assertEquals(provider.calls, ["survey"]);
});

Deno.test("RouteReconciler.reconcile() takes a race with somebody else for what passes", async () => {
  using _log = captureLog();
  const provider = new MemoryProvider({
    a: [stale("10.20.5.0/24", "gone")],
    b: [stale("10.20.1.0/24", "other")],
  });
  provider.failures.set("remove a", "missing").set("create a", "exists").set(
    "replace b",
    "missing",
  );
  const reconciler = new RouteReconciler(provider);
  assertEquals(await reconciler.reconcile(WANTED, signal), { passing: 2, lasting: 0 });
});

Deno.test("RouteReconciler.reconcile() ends in time when the provider keeps throttling", async () => {
  using log = captureLog();
  const provider = new MemoryProvider({ a: [] });
  const reconciler = new RouteReconciler(provider, { limit: 100 });
  provider.failures.set("survey", "throttled");
  assertEquals(await reconciler.reconcile(WANTED, signal), { passing: 1, lasting: 0 });
  assertEquals(reconciler.state.failure, "survey has failed");
  provider.failures.clear();
  provider.failures.set("create a", "unavailable");
  assertEquals(await reconciler.reconcile(WANTED, signal), { passing: 1, lasting: 0 });
  assertEquals(reconciler.state.failure, undefined);
  assertMatch(
    log.lines.join("\n"),
    /cannot read the provider's route tables: survey has failed[^]*can be read again/,
  );
});

Deno.test("RouteReconciler looks one at a time, and ends when its signal does", async () => {
  using _log = captureLog();
  const provider = new MemoryProvider({ a: [] });
  const reconciler = new RouteReconciler(provider);
  await Promise.all([1, 2, 3].map(() => reconciler.reconcile(WANTED, signal)));
  assertEquals(provider.calls, ["survey", "create a", "survey", "survey"]);
  await assertRejects(
    () => reconciler.reconcile(WANTED, AbortSignal.abort(new Error("the end"))),
    Error,
    "the end",
  );
  // One that was given up does not stop the next.
  assertEquals((await reconciler.look(WANTED, signal)).lines, []);
});

Deno.test("RouteReconciler.remove() removes routes to this host, and no others, in all tables but the kept", async () => {
  using _log = captureLog();
  const kept = [
    stale("10.20.5.0/24", "gone"),
    stale("10.20.6.0/24", "other"),
    stale("10.99.1.0/24", "own"),
    stale("10.20.7.7/32", "own"),
  ];
  const provider = new MemoryProvider({ a: [...kept, stale("10.20.1.0/24", "own")] });
  const passedOn = [stale("10.20.1.0/24", "own")];
  provider.tables.set("b", passedOn);
  await new RouteReconciler(provider).remove(WANTED, signal, new Set(["b"]));
  assertEquals([...provider.tables], [["a", kept], ["b", passedOn]]);
});
