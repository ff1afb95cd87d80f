import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { shorten } from "./shorten.ts";

Deno.test("shorten() keeps what fits, and the start of what does not", () => {
  assertEquals(shorten("x".repeat(200)), "x".repeat(200));
  assertEquals(shorten("x".repeat(201)), `${"x".repeat(200)}... (201 bytes)`);
  assertEquals(shorten("é".repeat(3), 5), "éé... (6 bytes)");
  assertEquals(shorten("👋👋", 7), "👋... (8 bytes)");
});

Deno.test("shorten() never keeps more than it may, nor half a character", () => {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 1, max: 40 }), (text, most) => {
      const short = shorten(text, most);
      if (bytes(text) <= most) return assertEquals(short, text);
      const kept = short.slice(0, short.lastIndexOf("... ("));
      assert(text.startsWith(kept) && bytes(kept) <= most && bytes(kept) > most - 4);
      assert(kept.isWellFormed());
    }),
  );
});
