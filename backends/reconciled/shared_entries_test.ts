import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { SharedEntries } from "./shared_entries.ts";

Deno.test("SharedEntries holds the object of the latest present peer", () => {
  const claims = new SharedEntries<string, { readonly by: number }>();
  const [first, second, third] = [{ by: 1 }, { by: 2 }, { by: 3 }];
  for (const claim of [first, second, third]) claims.add("a", claim);
  assertEquals([...claims.values()], [third]);
  claims.remove("a", second);
  assertEquals(claims.get("a"), third);
  claims.remove("a", third);
  assertEquals(claims.get("a"), first);
  claims.remove("a", third);
  assertEquals(claims.get("a"), first);
  claims.remove("a", first);
  assertEquals(claims.get("a"), undefined);
  assertEquals([...claims.values()], []);
});

Deno.test("SharedEntries agrees with a list of all objects", () => {
  const step = fc.record({
    key: fc.constantFrom("a", "b"),
    owner: fc.nat({ max: 4 }),
    add: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const claims = new SharedEntries<string, { readonly id: string }>();
    const model: { readonly key: string; readonly id: string }[] = [];
    for (const { key, owner, add } of steps) {
      const at = model.findIndex(({ id }) => id === `${key}${owner}`);
      if (add && at < 0) {
        const claim = { key, id: `${key}${owner}` };
        model.push(claim);
        claims.add(key, claim);
      } else if (!add && at >= 0) {
        claims.remove(key, model.splice(at, 1)[0]!);
      }
      for (const key of ["a", "b"]) {
        assertEquals(claims.get(key)?.id, model.findLast((claim) => claim.key === key)?.id);
      }
      assertEquals([...claims.values()].length, new Set(model.map(({ key }) => key)).size);
    }
  }));
});
