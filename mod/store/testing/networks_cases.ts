/**
 * The table of cases of {@linkcode NetworkNames} that each adapter's test runs on a real store.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { configureLog } from "../../observe/log/log.ts";
import type { NamesSnapshot, NetworkNames } from "../network_names.ts";

/** A real store, and what an operator does to its networks. */
export interface NetworksLab extends AsyncDisposable {
  /** Opens the names below a prefix. */
  open(prefix: string): Promise<NetworkNames>;
  /** Gives a network a config; one that has it already gets another. */
  add(prefix: string, network: string): Promise<void>;
  /** Takes a network's config away. */
  removeConfig(prefix: string, network: string): Promise<void>;
  /** Takes all of a network away. */
  remove(prefix: string, network: string): Promise<void>;
  /** Writes what belongs to a network and is not its config, such as a lease. */
  addLease(prefix: string, network: string): Promise<void>;
  /** Makes the server forget how it came to what it holds. */
  loseHistory(): Promise<void>;
}

const CONFIG = '{"Network":"10.20.0.0/16"}';

/** A config that no agent reads here. */
export function someConfig(): string {
  return CONFIG;
}

/** The set of names as a snapshot and the watch from there add up to. */
class Follower implements AsyncDisposable {
  readonly names = new Set<string>();
  resyncs = 0;
  readonly #stop = new AbortController();
  #ended: Promise<void> = Promise.resolve();

  static async start(networks: NetworkNames, from?: NamesSnapshot): Promise<Follower> {
    const follower = new Follower();
    const snapshot = from ?? await networks.snapshot();
    snapshot.names.forEach((name) => follower.names.add(name));
    follower.#ended = follower.#follow(networks, snapshot.cursor);
    return follower;
  }

  async #follow(networks: NetworkNames, cursor: string): Promise<void> {
    for await (const item of networks.watch(cursor, { signal: this.#stop.signal })) {
      if (item.type === "resync") {
        this.resyncs++;
        this.names.clear();
        item.snapshot.names.forEach((name) => this.names.add(name));
        continue;
      }
      for (const { type, network } of item.changes) {
        if (type === "added") this.names.add(network);
        else this.names.delete(network);
      }
    }
  }

  /** Waits until the names are these. */
  async until(...names: string[]): Promise<void> {
    const want = names.sort().join();
    const deadline = performance.now() + 8_000;
    while ([...this.names].sort().join() !== want) {
      assert(performance.now() < deadline, `${[...this.names]} instead of ${want}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }
}

/** Registers the cases as one test named after the store. */
export function networkCases(name: string, makeLab: () => Promise<NetworksLab>): void {
  Deno.test(`NetworkNames of ${name}`, async (t) => {
    const lines: string[] = [];
    configureLog({ write: (line) => lines.push(line) });
    await using lab = await makeLab();

    await t.step("snapshot() of nothing is empty", async () => {
      await using networks = await lab.open("/cases/none");
      assertEquals((await networks.snapshot()).names, []);
    });

    await t.step("snapshot() lists what has a config, however much is beside it", async () => {
      const prefix = "/cases/list";
      for (const network of ["blue", "blue-2", "green"]) await lab.add(prefix, network);
      await lab.addLease(prefix, "blue");
      await lab.addLease(prefix, "without-config");
      await lab.add(`${prefix}/deep`, "er");
      await using networks = await lab.open(prefix);
      assertEquals((await networks.snapshot()).names.toSorted(), ["blue", "blue-2", "green"]);
    });

    await t.step("watch() reports networks that come and go, each way of going", async () => {
      const prefix = "/cases/watch";
      await lab.add(prefix, "blue");
      await using networks = await lab.open(prefix);
      await using follower = await Follower.start(networks);
      await lab.add(prefix, "green");
      await lab.addLease(prefix, "green");
      await lab.addLease(prefix, "red");
      await follower.until("blue", "green");
      await lab.removeConfig(prefix, "blue");
      await follower.until("green");
      await lab.remove(prefix, "green");
      await follower.until();
      await lab.add(prefix, "green");
      await follower.until("green");
      assertEquals(follower.resyncs, 0);
    });

    await t.step("watch() answers lost history with all names", async () => {
      const prefix = "/cases/lost";
      await lab.add(prefix, "blue");
      await using networks = await lab.open(prefix);
      const before = await networks.snapshot();
      await lab.removeConfig(prefix, "blue");
      await lab.add(prefix, "green");
      await lab.loseHistory();
      await using follower = await Follower.start(networks, before);
      await follower.until("green");
      assertEquals(follower.resyncs, 1);
      await lab.add(prefix, "red");
      await follower.until("green", "red");
    });

    await t.step(
      "snapshot() leaves out a name that cannot be served, with one warning",
      async () => {
        const prefix = "/cases/names";
        await lab.add(prefix, "two words");
        await lab.add(prefix, "good");
        await using networks = await lab.open(prefix);
        lines.length = 0;
        assertEquals((await networks.snapshot()).names, ["good"]);
        assertEquals((await networks.snapshot()).names, ["good"]);
        assertEquals(lines.filter((line) => line.includes("two words")).length, 1);
      },
    );

    await t.step("watch() ends with its signal and with what it was opened from", async () => {
      const networks = await lab.open("/cases/end");
      const { cursor } = await networks.snapshot();
      for await (const _ of networks.watch(cursor, { signal: AbortSignal.abort() }));
      const { signal } = new AbortController();
      const watching = (async () => {
        for await (const _ of networks.watch(cursor, { signal }));
      })();
      await new Promise((resolve) => setTimeout(resolve, 100));
      await networks[Symbol.asyncDispose]();
      await watching;
    });
  });
}
