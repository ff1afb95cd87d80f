import { assertEquals, assertStrictEquals } from "@std/assert";
import { openEmbedded } from "../store/testing/open_lab.ts";
import { libc } from "../sys/mod.ts";
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
