/**
 * Generators of inputs: raw ones, and mutations of a target's seeds.
 *
 * @module
 */
import fc from "fast-check";
import { CHARACTER } from "../../mod/text/testing/character.ts";

/** Numbers at which lengths, counts and offsets turn wrong. */
const EDGES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 21, 27, 28, 63, 64, 127, 128, 255] as const;
const WIDE_EDGES = [0, 1, 0x7f, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000] as const;
const WIDEST_EDGES = [...WIDE_EDGES, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff] as const;

type Edit<T> = (value: T, pick: readonly T[]) => T;

/** Makes edits of values of one type, each with details of its own. */
function editing<T>() {
  return <D>(details: fc.Arbitrary<D>, apply: (value: T, details: D) => T) =>
    details.map((chosen): Edit<T> => (value) => apply(value, chosen));
}

/** Bytes near the seeds, and bytes at random. */
export function bytesNear(
  seeds: readonly Uint8Array[],
  maxLength = 300,
): fc.Arbitrary<Uint8Array> {
  const raw = fc.uint8Array({ maxLength, size: "max" });
  if (seeds.length === 0) return raw;
  return fc.oneof(
    { weight: 1, arbitrary: raw },
    { weight: 9, arbitrary: mutated(seeds, byteEdit) },
  );
}

const at = fc.nat(0xffffff);
const editBytes = editing<Uint8Array>();
const byteEdit: fc.Arbitrary<Edit<Uint8Array>> = fc.oneof(
  editBytes(
    fc.tuple(at, fc.nat(7)),
    (bytes, [where, bit]) =>
      patch(bytes, where, 1, (view, offset) => {
        view.setUint8(offset, view.getUint8(offset) ^ 1 << bit);
      }),
  ),
  editBytes(
    fc.tuple(at, fc.oneof(fc.constantFrom(...EDGES), fc.nat(255))),
    (bytes, [where, value]) =>
      patch(bytes, where, 1, (view, offset) => view.setUint8(offset, value)),
  ),
  editBytes(
    fc.tuple(at, fc.constantFrom(...WIDE_EDGES), fc.boolean()),
    (bytes, [where, value, little]) =>
      patch(bytes, where, 2, (view, offset) => view.setUint16(offset, value, little)),
  ),
  editBytes(
    fc.tuple(at, fc.constantFrom(...WIDEST_EDGES), fc.boolean()),
    (bytes, [where, value, little]) =>
      patch(bytes, where, 4, (view, offset) => view.setUint32(offset, value, little)),
  ),
  // Removes or adds one element behind the position.
  editBytes(fc.tuple(at), (bytes, [where]) => bytes.slice(0, where % (bytes.length + 1))),
  editBytes(fc.tuple(at, at), (bytes, [from, count]) => without(bytes, from, count)),
  editBytes(
    fc.tuple(at, fc.uint8Array({ maxLength: 24 })),
    (bytes, [where, more]) => insert(bytes, where, more),
  ),
  editBytes(
    fc.tuple(at, at, at),
    (bytes, [from, count, to]) => insert(bytes, to, section(bytes, from, count)),
  ),
  fc.tuple(fc.nat(), at, at).map(([which, cut, join]): Edit<Uint8Array> => (bytes, seeds) => {
    const other = seeds[which % seeds.length]!;
    return concat(
      bytes.subarray(0, cut % (bytes.length + 1)),
      other.subarray(join % (other.length + 1)),
    );
  }),
);

/** A seed after some edits; it shrinks towards the first seed, untouched. */
function mutated<T>(
  seeds: readonly T[],
  edits: fc.Arbitrary<Edit<T>>,
): fc.Arbitrary<T> {
  return fc.tuple(fc.constantFrom(...seeds), fc.array(edits, { maxLength: 6 }))
    .map(([seed, chosen]) => chosen.reduce((value, apply) => apply(value, seeds), seed));
}

function patch(
  bytes: Uint8Array,
  where: number,
  width: number,
  write: (view: DataView, offset: number) => void,
): Uint8Array {
  if (bytes.length < width) return bytes;
  const copy = bytes.slice();
  write(new DataView(copy.buffer), where % (bytes.length - width + 1));
  return copy;
}

function section(bytes: Uint8Array, from: number, count: number): Uint8Array {
  const start = from % (bytes.length + 1);
  return bytes.subarray(start, start + count % (bytes.length - start + 1));
}

function without(bytes: Uint8Array, from: number, count: number): Uint8Array {
  const start = from % (bytes.length + 1);
  return concat(
    bytes.subarray(0, start),
    bytes.subarray(start + count % (bytes.length - start + 1)),
  );
}

function insert(bytes: Uint8Array, where: number, more: Uint8Array): Uint8Array {
  const start = where % (bytes.length + 1);
  return concat(bytes.subarray(0, start), more, bytes.subarray(start));
}

/** All bytes in a row. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Tokens of several formats, and tokens that trip up their parsers. */
const TOKENS = [
  ..." \t\r\n\0\"\\/{}[]<>:,;=-+.&@#%'`$",
  ...["\r\n", "\r\n\r\n", "null", "true", "-0", "1e999", "1e20", "0x10", "NaN", "4294967296"],
  ...["9007199254740993", "-1", "00", "255.255.255.255", "0.0.0.0/0", "10.20.0.0/33", "::1"],
  ...["\\u0000", "\\ud800", "\ud800", "\u0085", "\u2028", "\ufeff", "\u0130", "\u212a", "\ufffd"],
  ...["__proto__", "constructor", "toString", "<!--", "-->", "<![CDATA[", "]]>", "&#x110000;"],
  ...["%00", "%zz", "%2e%2e", "../", "[".repeat(3000), '{"a":'.repeat(1500), "a".repeat(9000)],
] as const;

/** Texts near the seeds, and texts at random. @param tokens of the format, to be inserted */
export function textNear(
  seeds: readonly string[],
  tokens: readonly string[] = [],
): fc.Arbitrary<string> {
  const token = fc.oneof(
    fc.constantFrom(...tokens, ...TOKENS),
    fc.string({ unit: CHARACTER, maxLength: 8 }),
    fc.integer().map(String),
  );
  const raw = fc.array(token, { maxLength: 20 }).map((words) => words.join(""));
  if (seeds.length === 0) return raw;
  const editText = editing<string>();
  const cut = (text: string, where: number) => where % (text.length + 1);
  const edits: fc.Arbitrary<Edit<string>> = fc.oneof(
    editText(
      fc.tuple(at, token),
      (text, [where, word]) =>
        text.slice(0, cut(text, where)) + word + text.slice(cut(text, where)),
    ),
    editText(
      fc.tuple(at, fc.nat(12), token),
      (text, [where, count, word]) =>
        text.slice(0, cut(text, where)) + word + text.slice(cut(text, where) + count),
    ),
    editText(
      fc.tuple(at, fc.nat(30)),
      (text, [where, count]) =>
        text.slice(0, cut(text, where)) + text.slice(cut(text, where) + count),
    ),
    editText(fc.tuple(at), (text, [where]) => text.slice(0, cut(text, where))),
    editText(
      fc.tuple(at, fc.nat(60), at),
      (text, [from, count, to]) =>
        text.slice(0, cut(text, to)) + text.slice(cut(text, from), cut(text, from) + count) +
        text.slice(cut(text, to)),
    ),
    fc.tuple(fc.nat(), at, at).map(([which, end, start]): Edit<string> => (text, all) => {
      const other = all[which % all.length]!;
      return text.slice(0, cut(text, end)) + other.slice(cut(other, start));
    }),
  );
  return fc.oneof(
    { weight: 1, arbitrary: raw },
    { weight: 9, arbitrary: mutated(seeds, edits) },
  );
}

/** A value of JSON. */
type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Values of every kind, which stand where another kind belongs. */
const odd: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    ...[null, true, false, 0, -1, 1.5, 1e20, 2 ** 53, "", "0", "null", [], {}, [null], [[]]],
    ...["10.20.0.0/16", "192.0.2.1", "a".repeat(300), "\u0000", "\ud800", { "": null }],
  ),
  fc.jsonValue({ maxDepth: 2, stringUnit: CHARACTER }).map((value) => value as Json),
);

/** JSON near the seeds, as values that are valid but wrong, and as texts that are not JSON. */
export function jsonNear(
  seeds: readonly string[],
  keys: readonly string[] = [],
): fc.Arbitrary<string> {
  const key = fc.constantFrom(...keys, "__proto__", "", "unknown");
  const editJson = editing<Json>();
  const values = seeds.map((seed) => JSON.parse(seed) as Json);
  const edits: fc.Arbitrary<Edit<Json>> = fc.oneof(
    editJson(fc.tuple(at, odd), (value, [where, other]) => replaced(value, where, () => other)),
    editJson(fc.tuple(at), (value, [where]) => replaced(value, where, () => undefined)),
    editJson(
      fc.tuple(at, key, odd),
      (value, [where, name, other]) =>
        replaced(value, where, (node) => withMember(node, name, other)),
    ),
    editJson(
      fc.tuple(at, at),
      (value, [where, from]) => replaced(value, where, () => nodeAt(value, from)),
    ),
    editJson(
      fc.tuple(at, fc.constantFrom("upper", "lower")),
      (value, [where, form]) => replaced(value, where, (node) => recased(node, form === "upper")),
    ),
  );
  return fc.oneof(
    { weight: 6, arbitrary: mutated(values, edits).map((value) => JSON.stringify(value) ?? "") },
    { weight: 4, arbitrary: textNear(seeds, [...keys, ...keys.map((name) => `"${name}":`)]) },
  );
}

function withMember(node: Json, key: string, value: Json): Json {
  if (Array.isArray(node)) return [...node, value];
  return typeof node === "object" && node !== null ? { ...node, [key]: value } : value;
}

function recased(node: Json, isUpper: boolean): Json {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return node;
  return Object.fromEntries(
    Object.entries(node).map((
      [key, value],
    ) => [isUpper ? key.toUpperCase() : key.toLowerCase(), value]),
  );
}

function sizeOf(node: Json): number {
  if (typeof node !== "object" || node === null) return 1;
  return Object.values(node).reduce<number>((sum, child) => sum + sizeOf(child), 1);
}

function nodeAt(root: Json, where: number): Json {
  let found: Json = null;
  replaced(root, where, (node) => found = node);
  return found;
}

/** The value with one node of it replaced, or removed where that becomes `undefined`. */
function replaced(root: Json, where: number, change: (node: Json) => Json | undefined): Json {
  let left = where % sizeOf(root);
  const walk = (node: Json): Json | undefined => {
    if (left-- === 0) return change(node);
    if (typeof node !== "object" || node === null) return node;
    if (Array.isArray(node)) {
      return node.map(walk).filter((child) => child !== undefined);
    }
    return Object.fromEntries(
      Object.entries(node).map(([key, child]) => [key, walk(child)] as const)
        .filter((member): member is [string, Json] => member[1] !== undefined),
    );
  };
  return walk(root) ?? null;
}
