import { assert, assertEquals, assertRejects } from "@std/assert";
import { decodeNodeRecord, encodeNodeRecord, PERMANENT } from "../../lease/mod.ts";
import { ConflictError } from "../errors.ts";
import type { Expect, Kv, KvChange } from "../kv/kv.ts";
import { type CaseContext, record, type StoreCase } from "./store_lab.ts";

/** Values that a server of `-listen` takes and returns as they are: node records. */
const [ONE, TWO, THREE] = [valueOf("one"), valueOf("two"), valueOf("three")];

function valueOf(host: string): string {
  return encodeNodeRecord(decodeNodeRecord(encodeNodeRecord(record(host)))!);
}

/** The adapter of a case, and its key for a number. */
async function openKv(
  { lab, prefix }: CaseContext,
): Promise<{ kv: Kv; range: { prefix: string }; keyOf: (n: number) => string } & AsyncDisposable> {
  const store = await lab.open(prefix);
  const range = { prefix: store.entries.prefix };
  return {
    kv: store.kv,
    range,
    keyOf: (n) => `${range.prefix}/agents/192.0.2.${n}`,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

const lasting = (expect: Expect) => ({ expect, ttl: 600 });

/** Cases of an adapter alone. */
export const kvCases: readonly StoreCase[] = [
  ["Kv.get() returns what Kv.put() wrote, and its lifetime on request", async (context) => {
    await using opened = await openKv(context);
    const { kv, keyOf } = opened;
    const key = keyOf(1);
    assertEquals(await kv.get(key), undefined);
    const written = await kv.put(key, ONE, lasting("absent"));
    assertEquals([written.key, written.value, written.ttl], [key, ONE, 600]);
    const read = (await kv.get(key, { ttl: true }))!;
    assertEquals([read.key, read.value, read.revision], [key, ONE, written.revision]);
    assert(read.ttl! > 590 && read.ttl! <= 600, `ttl ${read.ttl}`);
    await kv.put(key, ONE, { expect: "any", ttl: PERMANENT });
    assertEquals((await kv.get(key, { ttl: true }))?.ttl, PERMANENT);
  }],

  ["Kv.put() writes an entry that is as expected, and no other", async (context) => {
    await using opened = await openKv(context);
    const { kv, keyOf } = opened;
    const key = keyOf(1);
    const conflicts = async (value: string, expect: Expect) => {
      await assertRejects(() => kv.put(key, value, lasting(expect)), ConflictError);
    };
    await conflicts(ONE, { revision: "1" });
    const first = await kv.put(key, ONE, lasting("absent"));
    await conflicts(TWO, "absent");
    const second = await kv.put(key, TWO, lasting({ revision: first.revision }));
    await conflicts(THREE, { revision: first.revision });
    assertEquals((await kv.get(key))?.value, TWO);
    const third = await kv.put(key, THREE, lasting("any"));
    await conflicts(ONE, { revision: second.revision });
    await kv.put(key, ONE, lasting({ revision: third.revision }));
    await kv.put(keyOf(2), TWO, lasting("any"));
  }],

  ["Kv.put() lets exactly one of ten writers of one revision win", async (context) => {
    await using opened = await openKv(context);
    const { kv, keyOf } = opened;
    const { revision } = await kv.put(keyOf(1), ONE, lasting("absent"));
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, () => kv.put(keyOf(1), TWO, lasting({ revision }))),
    );
    assertEquals(results.filter(({ status }) => status === "fulfilled").length, 1);
    for (const result of results) {
      if (result.status === "rejected") assert(result.reason instanceof ConflictError);
    }
  }],

  ["Kv.delete() deletes an entry that is as expected, and finds none fine", async (context) => {
    await using opened = await openKv(context);
    const { kv, keyOf } = opened;
    const key = keyOf(1);
    await kv.delete(key, { expect: "any" });
    await kv.delete(key, { expect: { revision: "1" } });
    const { revision } = await kv.put(key, ONE, lasting("absent"));
    const now = await kv.put(key, TWO, lasting("any"));
    await assertRejects(() => kv.delete(key, { expect: { revision } }), ConflictError);
    await kv.delete(key, { expect: { revision: now.revision } });
    assertEquals(await kv.get(key), undefined);
    const again = await kv.put(key, TWO, lasting("absent"));
    assert(again.revision !== now.revision, "a revision is never given out twice");
    await kv.delete(key, { expect: "any" });
    assertEquals(await kv.get(key), undefined);
  }],

  ["Kv.list() lists exactly a range, with the revisions of its entries", async (context) => {
    await using opened = await openKv(context);
    await using other = await openKv({ ...context, prefix: `${context.prefix}b` });
    const { kv, range, keyOf } = opened;
    const empty = await kv.list(range);
    assertEquals(empty.entries, []);
    assert(empty.missing(`${range.prefix}/config`).length > 0);
    const one = await kv.put(keyOf(1), ONE, lasting("absent"));
    const two = await kv.put(keyOf(2), TWO, { expect: "absent", ttl: PERMANENT });
    await other.kv.put(other.keyOf(3), THREE, lasting("absent"));
    const { entries } = await kv.list(range);
    assertEquals(
      entries.map(({ key, value, revision }) => [key, value, revision]).sort(),
      [[one.key, ONE, one.revision], [two.key, TWO, two.revision]],
    );
    assertEquals(entries.find(({ key }) => key === two.key)?.ttl, PERMANENT);
    assert(entries.find(({ key }) => key === one.key)?.ttl !== PERMANENT);
  }],

  ["Kv.watch() yields each write, deletion and expiry of a range", async (context) => {
    await using opened = await openKv(context);
    await using other = await openKv({ ...context, prefix: `${context.prefix}b` });
    const { kv, range, keyOf } = opened;
    const { cursor } = await kv.list(range);
    const written = [
      await kv.put(keyOf(1), ONE, lasting("absent")),
      await kv.put(keyOf(1), TWO, lasting("any")),
      await kv.put(keyOf(2), TWO, { expect: "absent", ttl: 1 }),
    ];
    await other.kv.put(other.keyOf(3), THREE, lasting("absent"));
    const seen: KvChange[] = [];
    for await (const item of kv.watch(range, cursor, { signal: AbortSignal.timeout(8_000) })) {
      if (item.type === "resync") throw new Error(item.reason);
      seen.push(...item.changes);
      if (seen.length === 3) await kv.delete(keyOf(1), { expect: "any" });
      if (seen.length >= 5) break;
    }
    assertEquals(
      seen.flatMap((change) =>
        change.type === "put" ? [[change.entry.key, change.entry.value, change.entry.revision]] : []
      ),
      written.map(({ key, value, revision }) => [key, value, revision]),
    );
    assertEquals(
      seen.flatMap((change) => change.type === "delete" ? [change.key] : []).sort(),
      [keyOf(1), keyOf(2)],
    );
  }],
];
