import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { chainTag } from "./tag.ts";

Deno.test("chainTag() leaves a lone network flannel's names", () => {
  assertEquals(chainTag(undefined, "/run/flannel/subnet.env"), undefined);
});

Deno.test("chainTag() is the network's name where that fits, or begins like it", () => {
  assertEquals(chainTag("blue", "/run/flannel/networks/blue.env"), "blue");
  assertEquals(chainTag("twelve-chars", "x"), "twelve-chars");
  // FNV-1a's published value for "foobar".
  assertEquals(chainTag(undefined, "foobar"), "filebf9cf968");
  assertEquals(chainTag("thirteen-char", "x")?.slice(0, 4), "thi.");
});

Deno.test("chainTag() distinguishes networks and files, in characters that the tools accept", () => {
  const name = fc.stringMatching(/^[\w~-][\w.~-]{0,60}$/);
  fc.assert(fc.property(name, name, (a, b) => {
    fc.pre(a !== b);
    for (const tagOf of [(x: string) => chainTag(x, x), (x: string) => chainTag(undefined, x)]) {
      const tags = [tagOf(a), tagOf(b)];
      assert(tags[0] !== tags[1]);
      for (const tag of tags) assert(/^[\w.-]{1,12}$/.test(tag!), tag);
    }
  }));
});
