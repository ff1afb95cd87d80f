import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { readBtfEnum } from "./btf.ts";

interface Type {
  readonly kind: number;
  readonly name: string;
  /** Of an enumeration; of other kinds only how many there are counts. */
  readonly members: readonly (readonly [name: string, value: number])[];
}

/** Bytes behind a type of each kind, and for each of its members (include/uapi/linux/btf.h). */
const SIZES: Readonly<Record<number, readonly [fixed: number, member: number]>> = {
  ...{ 1: [4, 0], 2: [0, 0], 3: [12, 0], 4: [0, 12], 5: [0, 12], 6: [0, 8], 7: [0, 0], 8: [0, 0] },
  ...{ 9: [0, 0], 10: [0, 0], 12: [0, 0], 13: [0, 8], 14: [4, 0], 15: [0, 12], 16: [0, 0] },
  ...{ 17: [4, 0], 18: [0, 0], 19: [0, 12] },
};

function encode(types: readonly Type[]): Uint8Array {
  let strings = "\0";
  const intern = (text: string) => {
    const offset = strings.length;
    strings += `${text}\0`;
    return offset;
  };
  const words: number[] = [];
  for (const { kind, name, members } of types) {
    words.push(intern(name), kind << 24 | members.length, 4);
    const [fixed, member] = SIZES[kind]!;
    for (let i = 0; i < fixed / 4; i++) words.push(0);
    for (const [name, value] of members) {
      if (kind === 6) words.push(intern(name), value);
      else for (let i = 0; i < member / 4; i++) words.push(0xffffffff);
    }
  }
  const text = new TextEncoder().encode(strings);
  const bytes = new Uint8Array(24 + words.length * 4 + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, true);
  view.setUint8(2, 1);
  [24, 0, words.length * 4, words.length * 4, text.length]
    .forEach((word, i) => view.setUint32(4 + 4 * i, word, true));
  words.forEach((word, i) => view.setInt32(24 + 4 * i, word, true));
  bytes.set(text, 24 + words.length * 4);
  return bytes;
}

const name = fc.stringMatching(/^[a-z_]{1,12}$/);
const types = fc.array(fc.record({
  kind: fc.constantFrom(...Object.keys(SIZES).map(Number)),
  name,
  members: fc.array(fc.tuple(name, fc.integer()), { maxLength: 5 }),
}));

Deno.test("readBtfEnum() finds an enumeration among types of all kinds", () => {
  fc.assert(fc.property(types, types, fc.array(fc.tuple(name, fc.integer()), { minLength: 1 }), (
    before,
    after,
    members,
  ) => {
    const wanted = { kind: 6, name: "skb_drop_reason", members };
    const found = readBtfEnum(encode([...before, wanted, ...after]), "skb_drop_reason");
    assertEquals(found, new Map(members.map(([name, value]) => [value, name])));
  }));
});

Deno.test("readBtfEnum() finds nothing in what has no such enumeration, or is no BTF", () => {
  fc.assert(fc.property(types, (types) => {
    assertEquals(readBtfEnum(encode(types), "skb_drop_reason"), undefined);
  }));
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    assertEquals(readBtfEnum(bytes, "skb_drop_reason"), undefined);
  }));
});
