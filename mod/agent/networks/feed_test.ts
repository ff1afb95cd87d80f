import { assert, assertEquals, assertMatch } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { openEmbedded } from "../../store/testing/open_lab.ts";
import type { EmbeddedStoreOptions } from "../../store/options.ts";
import { libc } from "../../sys/mod.ts";
import { networkFeed } from "./feed.ts";
import { MOST_NETWORKS } from "./options.ts";

libc();

/** An embedded store and the directory of a host's subnet files. */
async function withStore(
  test: (store: {
    readonly options: EmbeddedStoreOptions;
    readonly directory: string;
    add(...names: readonly string[]): Promise<void>;
    remove(name: string): Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const options: EmbeddedStoreOptions = { kind: "embedded", path: `${directory}/leases.db` };
  const config = (name: string) => `{"Network": "10.20.0.0/16", "Name": "${name}"}`;
  try {
    await test({
      options,
      directory,
      async add(...names) {
        for (const network of names) {
          await using store = await openEmbedded({ ...options, network });
          await store.putConfig(config(network), undefined);
        }
      },
      async remove(network) {
        await using store = await openEmbedded({ ...options, network });
        await store.removeConfig(config(network));
      },
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const many = Array.from({ length: MOST_NETWORKS + 20 }, (_, i) => `n${i}`);

Deno.test("networkFeed() follows a hundred networks, those served before first, and logs the limit once", () =>
  withStore(async ({ options, directory, add, remove }) => {
    await add(...many);
    // The last of the list were served here before.
    const served = many.slice(-5);
    for (const name of served) await Deno.writeTextFile(`${directory}/${name}.env`, "");
    using log = captureLog();
    const stop = new AbortController();
    const { signal } = stop;
    await using feed = await networkFeed(options, { allowed: [], watch: true, directory }, signal);
    assertEquals(feed.first.size, MOST_NETWORKS);
    for (const name of served) assert(feed.first.has(name), name);

    // A watch keeps nothing alive by itself.
    const alive = setInterval(() => {}, 1000);
    using _alive = { [Symbol.dispose]: () => clearInterval(alive) };
    const changes = feed.follow(signal)[Symbol.asyncIterator]();
    const next = async () => (await changes.next()).value as ReadonlySet<string>;
    const more = next();
    await add("later");
    assertEquals((await more).size, MOST_NETWORKS);
    assert(!(await more).has("later"));
    // A removed network makes room for a waiting one; no served network loses its place.
    const removed = next();
    await remove(served[0]!);
    const after = await removed;
    assertEquals(after.size, MOST_NETWORKS);
    assertEquals(feed.first.difference(after), new Set([served[0]!]));
    stop.abort();
    await changes.next().catch(() => {});

    const lines = log.lines.filter((line) => line.includes("at most"));
    assertEquals(lines.length, 1, log.lines.join("\n"));
    assertMatch(
      lines[0]!,
      /^W -watch-networks serves 100 networks at most: "n\d+" and others wait/,
    );
  }));

Deno.test("networkFeed() does not count networks that the operator has named", () =>
  withStore(async ({ options, directory, add }) => {
    await add(...many);
    using log = captureLog();
    const { signal } = new AbortController();
    const networks = { allowed: many, watch: true, directory };
    await using feed = await networkFeed(options, networks, signal);
    assertEquals(feed.first.size, many.length);
    assertEquals(log.lines.filter((line) => line.includes("at most")), []);
  }));
