import fc from "fast-check";

/** Code points of surrogates, which are no characters. */
const SURROGATES = { first: 0xd800, count: 0x800 } as const;

/**
 * Any Unicode character, as the unit of `fc.string()`. It generates the same characters as the unit
 * `binary` of fast-check, which first builds a table of them: 1.2 s of processor time per isolate.
 */
export const CHARACTER: fc.Arbitrary<string> = fc.nat(0x10ffff - SURROGATES.count).map(
  (index) => String.fromCodePoint(index < SURROGATES.first ? index : index + SURROGATES.count),
  (value) => {
    if (typeof value !== "string" || !/^\P{Cs}$/u.test(value)) throw new Error("not a character");
    const codePoint = value.codePointAt(0)!;
    return codePoint < SURROGATES.first ? codePoint : codePoint - SURROGATES.count;
  },
);
