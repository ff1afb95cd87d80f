import { assertEquals } from "@std/assert";
import { libc } from "../../mod/sys/mod.ts";
import { openEmbedded, openNames } from "../../mod/store/testing/open_lab.ts";

libc();

Deno.test("NetworkNames over a file lists and follows the networks that have a config", async () => {
  const directory = await Deno.makeTempDir({ prefix: "embedded-" });
  try {
    const path = `${directory}/leases.db`;
    await using names = await openNames({ kind: "embedded", path }, { owner: true });
    const open = (network: string | undefined, seed: string) =>
      openEmbedded({ kind: "embedded", path, seed, ...(network ? { network } : {}) }, {
        owner: true,
      });
    await using _unnamed = await open(undefined, '{"Network":"10.20.0.0/16"}');
    await using _blue = await open("blue", '{"Network":"10.21.0.0/16"}');
    const { names: listed, cursor } = await names.snapshot();
    assertEquals(listed, ["blue"]);

    const seed = '{"Network":"10.22.0.0/16"}';
    await using red = await open("red", seed);
    await red.removeConfig(seed);
    const { signal } = new AbortController();
    for await (const item of names.watch(cursor, { signal })) {
      assertEquals(item.type === "changes" && item.changes, [
        { type: "added", network: "red" },
        { type: "removed", network: "red" },
      ]);
      break;
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
