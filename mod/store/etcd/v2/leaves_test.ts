import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LeafFinder } from "./leaves.ts";

/** The leaves of a text that arrives in the given pieces. */
function leavesOf(pieces: readonly string[]): { leaves: unknown[]; complete: boolean } {
  const leaves: unknown[] = [];
  const finder = new LeafFinder((leaf) => leaves.push(JSON.parse(leaf)));
  for (const piece of pieces) finder.push(piece);
  return { leaves, complete: finder.complete };
}

/** The same by walking the parsed value. */
function leavesByWalking(value: unknown): unknown[] {
  if (typeof value !== "object" || value === null) return [];
  const inner = Object.values(value).flatMap(leavesByWalking);
  return inner.length > 0 || Array.isArray(value) ? inner : [value];
}

Deno.test("LeafFinder finds entries and empty directories of a listing", () => {
  const text = '{"action":"get","node":{"key":"/f","dir":true,"nodes":[' +
    '{"key":"/f/config","value":"{\\"Network\\": \\"10.20.0.0/16\\"}","modifiedIndex":4},' +
    '{"key":"/f/subnets","dir":true,"nodes":[{"key":"/f/subnets/a","value":"\\\\","ttl":9}],' +
    '"modifiedIndex":5},{"key":"/f/agents","dir":true}],"modifiedIndex":4}}\n';
  assertEquals(leavesOf([text]), {
    leaves: [
      { key: "/f/config", value: '{"Network": "10.20.0.0/16"}', modifiedIndex: 4 },
      { key: "/f/subnets/a", value: "\\", ttl: 9 },
      { key: "/f/agents", dir: true },
    ],
    complete: true,
  });
});

Deno.test("LeafFinder finds the leaves of any JSON, however it is cut in pieces", () => {
  fc.assert(fc.property(
    fc.json({ maxDepth: 5 }).map((text) => `{"a":${text}}`),
    fc.array(fc.nat(1000), { maxLength: 8 }),
    (text, cuts) => {
      const places = [0, ...cuts.map((cut) => cut % text.length), text.length]
        .sort((a, b) => a - b);
      const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
      assertEquals(leavesOf(pieces), { leaves: leavesByWalking(JSON.parse(text)), complete: true });
      assertEquals(leavesOf([...text]).leaves, leavesByWalking(JSON.parse(text)));
    },
  ));
});

Deno.test("LeafFinder.complete is false for a text that was cut off", () => {
  const text = '{"node":{"nodes":[{"key":"/a"},{"key":"/b"}]}}';
  for (let length = 1; length < text.length; length++) {
    assert(!leavesOf([text.slice(0, length)]).complete, text.slice(0, length));
  }
});
