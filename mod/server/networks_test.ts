import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { openEmbedded, openNames } from "../store/testing/open_lab.ts";
import { libc } from "../sys/mod.ts";
import { HttpError } from "../http/head.ts";
import { ServedNetworks } from "./networks.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

Deno.test("ServedNetworks.get() opens a network once, and no more than 256, whoever asks at one time", async () => {
  const directory = await Deno.makeTempDir({ prefix: "networks-" });
  const path = `${directory}/leases.db`;
  let open = 0;
  try {
    await using networks = new ServedNetworks({
      async open(network) {
        const store = await openEmbedded({ kind: "embedded", path, network }, { owner: true });
        open++;
        const dispose = store[Symbol.asyncDispose].bind(store);
        store[Symbol.asyncDispose] = () => {
          open--;
          return dispose();
        };
        return store;
      },
    });
    for (let i = 0; i < 256; i++) await networks.get(`n${i}`);
    assertEquals(open, 256);
    const [first, second] = await Promise.all([
      ...[networks.get("blue"), networks.get("blue")],
      ...Array.from({ length: 8 }, (_, i) => networks.get(`green${i}`)),
    ]);
    assertStrictEquals(first, second);
    assertEquals(open, 256);
    await networks[Symbol.asyncDispose]();
    assertEquals(open, 0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("ServedNetworks.get() opens no store of a network without a config for a client without credentials", async () => {
  const directory = await Deno.makeTempDir({ prefix: "networks-" });
  const path = `${directory}/leases.db`;
  const opened: string[] = [];
  const store = (network: string, seed?: string) =>
    openEmbedded({ kind: "embedded", path, network, ...(seed && { seed }) }, { owner: true });
  try {
    await using networks = new ServedNetworks({
      open: (network) => {
        opened.push(network);
        return store(network);
      },
      names: () => openNames({ kind: "embedded", path }, { owner: true }),
    });
    for (let i = 0; i < 300; i++) {
      await assertRejects(() => networks.get(`n${i}`, false), HttpError, `network n${i} has no`);
    }
    assertEquals(opened, []);
    await networks.get("_", false);
    await networks.get("trusted", true);
    await networks.get("trusted", false);
    await using _blue = await store("blue", '{"Network": "10.73.0.0/16"}');
    await (await networks.names()).read();
    await networks.get("blue", false);
    assertEquals(opened, ["_", "trusted", "blue"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
