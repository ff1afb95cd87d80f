import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../mod/ip/mod.ts";
import { PrefixIndex } from "./prefix_index.ts";

/** Few addresses, so that prefixes meet. */
const anyPrefix = fc.tuple(
  fc.constantFrom(0x0a140000, 0x0a140100, 0x0a140180, 0xffffff00),
  fc.nat(32),
)
  .map(([address, length]) => new Prefix(address, length));

const anyChange = fc.record({
  prefix: anyPrefix,
  identity: fc.constantFrom("0", "7"),
  op: fc.constantFrom("put", "put", "remove"),
});

Deno.test("PrefixIndex finds what a search through everything finds", () => {
  fc.assert(fc.property(fc.array(anyChange), anyPrefix, (changes, asked) => {
    const index = new PrefixIndex<Prefix>();
    const model = new Map<string, Prefix>();
    for (const { prefix, identity, op } of changes) {
      const key = `${prefix} ${identity}`;
      if (op === "put") {
        index.put(prefix.key, identity, prefix);
        model.set(key, prefix);
      } else {
        assertEquals(index.remove(prefix.key, identity), model.get(key));
        model.delete(key);
      }
      assertEquals(index.has(prefix.key, identity), model.has(key));
    }
    const all = [...model.values()];
    const text = (prefixes: readonly Prefix[]) => prefixes.map(String).sort();
    assertEquals(text(index.values()), text(all));
    const inside = all.filter((one) => asked.containsPrefix(one));
    const around = all.filter((one) => one.length < asked.length && one.containsPrefix(asked));
    const found = index.findInside(asked);
    assertEquals(found !== undefined, inside.length > 0);
    assertEquals(found === undefined || asked.containsPrefix(found), true);
    const outer = index.findAround(asked);
    assertEquals(outer !== undefined, around.length > 0);
    assertEquals(outer === undefined || outer.containsPrefix(asked), true);
    // The predicate sees all of them.
    const seen = new Set<string>();
    index.findInside(asked, (one) => {
      seen.add(String(one));
      return false;
    });
    assertEquals([...seen].sort(), [...new Set(text(inside))]);
  }));
});

Deno.test("PrefixIndex.removeAll() removes what fits and nothing else", () => {
  fc.assert(fc.property(fc.array(anyPrefix), (prefixes) => {
    const index = new PrefixIndex<Prefix>();
    for (const prefix of prefixes) index.put(prefix.key, "0", prefix);
    const isLong = ({ length }: Prefix) => length > 16;
    const distinct = new Map(prefixes.map((prefix) => [prefix.key, prefix]));
    assertEquals(index.removeAll(isLong), [...distinct.values()].filter(isLong).length);
    assertEquals(index.values().some(isLong), false);
    index.clear();
    assertEquals(index.values(), []);
    assertEquals(index.findInside(new Prefix(0, 0)), undefined);
  }));
});
