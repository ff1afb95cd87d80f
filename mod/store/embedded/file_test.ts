import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ConflictError } from "../errors.ts";
import type { Expect } from "../kv/kv.ts";
import { EmbeddedFile, type FileEvent } from "./file.ts";

/** A file, a clock, a second connection, and what must be true of them. */
class World {
  readonly directory: string = Deno.makeTempDirSync({ prefix: "embedded-" });
  now = 0;
  file: EmbeddedFile;
  #generation = 0;
  /** Entries of a watcher that follows the history from the start. */
  readonly watched = new Map<string, string>();
  #seen = 0;

  constructor() {
    this.file = this.#open();
  }

  #open(): EmbeddedFile {
    return new EmbeddedFile(this.#path, { owner: true, now: () => this.now });
  }

  get #path(): string {
    return `${this.directory}/${this.#generation}.db`;
  }

  reopen(): void {
    this.file[Symbol.dispose]();
    this.file = this.#open();
  }

  /** Goes on from what is in the files at this moment, which is what `kill -9` leaves. */
  crash(): void {
    const before = this.#path;
    this.#generation++;
    for (const suffix of ["", "-wal"]) Deno.copyFileSync(before + suffix, this.#path + suffix);
    this.file[Symbol.dispose]();
    this.file = this.#open();
  }

  /** Another process. */
  beside(step: (file: EmbeddedFile) => void): void {
    using other = new EmbeddedFile(this.#path);
    step(other);
  }

  follow(): void {
    const news = this.file.since("", this.#seen)!;
    for (const event of news.events) this.#apply(event);
    this.#seen = news.revision;
  }

  #apply(event: FileEvent): void {
    if (event.type === "delete") this.watched.delete(event.key);
    else this.watched.set(event.entry.key, event.entry.value);
  }

  [Symbol.dispose](): void {
    this.file[Symbol.dispose]();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

interface ModelEntry {
  readonly value: string;
  readonly ttl: number;
  /** Revision. */
  readonly revision: string;
  /** Milliseconds. */
  ends: number;
}

interface Model {
  readonly entries: Map<string, ModelEntry>;
  /** Revisions of the past, to be compared with. */
  readonly revisions: string[];
}

type Step = fc.Command<Model, World>;

/** Compares all that can be seen. */
function check(model: Model, world: World): void {
  for (const [key, { ends }] of model.entries) if (ends <= world.now) model.entries.delete(key);
  const { entries } = world.file.list("");
  const shown = entries.map(({ key, value, revision, ttl }) => [key, value, revision, ttl]);
  const expected = [...model.entries].sort(([a], [b]) => a < b ? -1 : 1).map(([key, entry]) => [
    ...[key, entry.value, entry.revision],
    entry.ttl === 0 ? 0 : Math.ceil((entry.ends - world.now) / 1000),
  ]);
  assertEquals(shown, expected);
  world.follow();
  const values = (entries: Iterable<[string, string]>) => [...entries].sort();
  assertEquals(
    values(world.watched),
    values([...model.entries].map(([key, { value }]) => [key, value])),
  );
}

function put(
  { key, value, ttl, condition, isBeside }: {
    key: string;
    value: string;
    ttl: number;
    condition: number | "absent" | "none";
    isBeside: boolean;
  },
): Step {
  return {
    check: () => true,
    toString: () => `put(${[key, value, ttl, condition, isBeside]})`,
    run(model, world) {
      // Runs out what has to first: a second process knows of no lifetimes.
      check(model, world);
      const before = model.entries.get(key);
      const compared = typeof condition === "number"
        ? condition === 0 ? before?.revision ?? "0" : model.revisions.at(-condition) ?? "0"
        : undefined;
      const wanted: Expect = compared !== undefined
        ? { revision: compared }
        : condition === "absent"
        ? "absent"
        : "any";
      const holds = wanted === "any" || before?.revision === compared;
      let revision: string | undefined;
      try {
        const write = (file: EmbeddedFile) => {
          revision = file.put(key, value, ttl, wanted).revision;
        };
        if (isBeside) world.beside(write);
        else write(world.file);
      } catch (error) {
        if (!(error instanceof ConflictError)) throw error;
      }
      assertEquals(revision !== undefined, holds);
      if (revision !== undefined) {
        const ends = ttl === 0 ? Infinity : world.now + ttl * 1000;
        model.entries.set(key, { value, ttl, revision, ends });
        model.revisions.push(revision);
        // The owner looks for others' writes by itself, twice a second.
        if (isBeside) world.file.lookForOthers();
      }
      check(model, world);
    },
  };
}

function remove(key: string, isTree: boolean): Step {
  return {
    check: () => true,
    toString: () => `remove(${key}, ${isTree})`,
    run(model, world) {
      if (isTree) world.file.deleteTree(key);
      else world.file.delete(key);
      for (const one of [...model.entries.keys()]) {
        if (one === key || (isTree && one.startsWith(`${key}/`))) model.entries.delete(one);
      }
      check(model, world);
    },
  };
}

function pass(seconds: number): Step {
  return {
    check: () => true,
    toString: () => `pass(${seconds})`,
    run(model, world) {
      world.now += seconds * 1000;
      check(model, world);
    },
  };
}

function restart(how: "reopen" | "crash"): Step {
  return {
    check: () => true,
    toString: () => how,
    run(model, world) {
      check(model, world);
      world[how]();
      for (const entry of model.entries.values()) {
        if (entry.ttl !== 0) entry.ends = world.now + entry.ttl * 1000;
      }
      check(model, world);
    },
  };
}

const key = fc.constantFrom(
  ...["/_/config", "/_/subnets/10.20.1.0-24", "/_/subnets/10.20.2.0-24", "/_/agents/192.0.2.1"],
  ...["/blue/config", "/blue/subnets/10.20.1.0-24"],
);

Deno.test("EmbeddedFile equals a model under any order of writes, expiry, second writers and crashes", () => {
  const steps = [
    fc.record({
      key,
      value: fc.string({ maxLength: 4 }),
      ttl: fc.constantFrom(0, 1, 2, 60),
      condition: fc.oneof(fc.nat(3), fc.constantFrom("absent" as const, "none" as const)),
      isBeside: fc.boolean(),
    }).map(put),
    fc.tuple(fc.oneof(key, fc.constantFrom("/_", "/_/subnets", "/nosuch")), fc.boolean())
      .map(([key, isTree]) => remove(key, isTree)),
    fc.constantFrom(0.5, 1, 61).map(pass),
    fc.constantFrom("reopen" as const, "crash" as const).map(restart),
  ];
  fc.assert(
    fc.property(fc.commands(steps, { size: "+1" }), (commands) => {
      using world = new World();
      fc.modelRun(() => ({ model: { entries: new Map(), revisions: [] }, real: world }), commands);
    }),
    { numRuns: 60 },
  );
});

Deno.test("EmbeddedFile gives each entry its whole lifetime when its owner starts", () => {
  using world = new World();
  world.file.put("/_/a", "x", 60);
  world.now += 59_000;
  assertEquals(world.file.read("/_/a")?.ttl, 1);
  world.reopen();
  assertEquals(world.file.read("/_/a")?.ttl, 60);
  world.now += 60_000;
  assertEquals(world.file.read("/_/a"), undefined);
});

Deno.test("EmbeddedFile.since() says when history does not reach back", () => {
  const directory = Deno.makeTempDirSync();
  try {
    using file = new EmbeddedFile(`${directory}/leases.db`, { history: 100 });
    for (let i = 1; i <= 1_024; i++) file.put("/_/a", `${i}`, 0);
    assertEquals(file.since("", 1_024), { events: [], revision: 1_024 });
    assertEquals(file.since("", 924)?.events.length, 100);
    assertEquals(file.since("", 923), undefined);
    // Not given out yet: a copy of the file from another time.
    assertEquals(file.since("", 1_025), undefined);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
