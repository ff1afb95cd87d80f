import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "./character.ts";

Deno.test("CHARACTER generates single characters, and half of no surrogate pair", () => {
  fc.assert(fc.property(CHARACTER, (text) => assertEquals([...text].length, 1)));
  fc.assert(fc.property(fc.string({ unit: CHARACTER }), (text) => text.isWellFormed()));
  for (const text of ["\0", "\ud7ff", "\ue000", "\u{10000}", "\u{10ffff}"]) {
    assert(CHARACTER.canShrinkWithoutContext(text), text);
  }
  for (const text of ["", "\ud800", "\udfff", "ab"]) {
    assert(!CHARACTER.canShrinkWithoutContext(text), text);
  }
});
