import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  Assembler,
  type Condition,
  linkProgram,
  type Operation,
  R0,
  R1,
  R10,
  R2,
  R3,
  R6,
  R9,
} from "./assembler.ts";

const hex = (bytes: Uint8Array) =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("").match(/.{16}/g) ?? [];

/** Encodings of single instructions. */
function encode(write: (assembler: Assembler) => void): string[] {
  return hex(new Assembler().include(write).assemble().bytes);
}

// As `llvm-objdump -d` and the table of the kernel's Documentation/bpf/standardization have it.
const GOLDEN: [string, (a: Assembler) => void, string[]][] = [
  ["r6 = r1", (a) => a.mov(R6, R1), ["bf16000000000000"]],
  ["r0 = -1", (a) => a.mov(R0, -1), ["b7000000ffffffff"]],
  ["w2 = 7", (a) => a.alu32(R2, "mov", 7), ["b402000007000000"]],
  ["r2 += -8", (a) => a.alu(R2, "add", -8), ["07020000f8ffffff"]],
  ["r2 += r3", (a) => a.alu(R2, "add", R3), ["0f32000000000000"]],
  ["w2 &= 15", (a) => a.alu32(R2, "and", 15), ["540200000f000000"]],
  ["r2 <<= 2", (a) => a.alu(R2, "lsh", 2), ["6702000002000000"]],
  ["r2 /= r9", (a) => a.alu(R2, "div", R9), ["3f92000000000000"]],
  ["r2 = be16 r2", (a) => a.swap(R2, 16), ["dc02000010000000"]],
  ["r2 = *(u32 *)(r1 + 76)", (a) => a.load(R2, R1, 76, 4), ["61124c0000000000"]],
  ["r2 = *(u16 *)(r1 + 2)", (a) => a.load(R2, R1, 2, 2), ["6912020000000000"]],
  ["r2 = *(u8 *)(r1 + 9)", (a) => a.load(R2, R1, 9, 1), ["7112090000000000"]],
  ["r2 = *(u64 *)(r10 - 16)", (a) => a.load(R2, R10, -16, 8), ["79a2f0ff00000000"]],
  ["*(u32 *)(r10 - 4) = r2", (a) => a.store(R10, -4, R2, 4), ["632afcff00000000"]],
  ["lock *(u64 *)(r0 + 8) += r9", (a) => a.atomicAdd(R0, 8, R9, 8), ["db90080000000000"]],
  ["*(u32 *)(r10 - 8) = 32", (a) => a.store(R10, -8, 32, 4), ["620af8ff20000000"]],
  ["call 23; exit", (a) => a.call("redirect").exit(), ["8500000017000000", "9500000000000000"]],
  [
    "if w2 > 5 goto +1; r0 = 0; exit",
    (a) => a.jumpIf32(R2, ">", 5, "out").mov(R0, 0).label("out").exit(),
    ["2602010005000000", "b700000000000000", "9500000000000000"],
  ],
  [
    "a loop: if r2 != r3 goto -1",
    (a) => a.label("again").jumpIf(R2, "!=", R3, "again"),
    ["5d32ffff00000000"],
  ],
  ["goto +0", (a) => a.jump("next").label("next"), ["0500000000000000"]],
  ["r1 = map", (a) => a.loadMap(R1, "routes"), ["1811000000000000", "0000000000000000"]],
];

for (const [text, write, expected] of GOLDEN) {
  Deno.test(`Assembler encodes "${text}"`, () => assertEquals(encode(write), expected));
}

Deno.test("Assembler refuses unknown labels, labels twice, and numbers that do not fit", () => {
  assertThrows(() => encode((a) => a.jump("nowhere")), TypeError, "nowhere");
  assertThrows(() => encode((a) => a.label("x").label("x")), TypeError, "already");
  assertThrows(() => encode((a) => a.mov(R0, 2 ** 32)), RangeError, "32 bits");
  assertThrows(() => encode((a) => a.load(R0, R1, 40_000, 4)), RangeError, "i16");
  assertThrows(
    () =>
      encode((a) => {
        a.jump("far");
        for (let i = 0; i < 33_000; i++) a.mov(R0, 0);
        a.label("far");
      }),
    RangeError,
    "i16",
  );
});

Deno.test("linkProgram() writes descriptors where maps are named, and nowhere else", () => {
  const program = new Assembler().mov(R0, 0).loadMap(R1, "a").loadMap(R2, "b").exit().assemble();
  assertEquals(hex(linkProgram(program, { a: 5, b: 258 })), [
    "b700000000000000",
    ...["1811000005000000", "0000000000000000", "1812000002010000", "0000000000000000"],
    "9500000000000000",
  ]);
  assertThrows(() => linkProgram(program, { a: 5 }), TypeError, "no map b");
});

Deno.test("Assembler leads every jump to its label, wherever the label is", () => {
  const conditions: Condition[] = ["==", "!=", "<", "<=", ">", ">=", "set"];
  const operations: Operation[] = ["add", "sub", "mul", "or", "and", "xor", "mov"];
  const step = fc.record({
    jump: fc.option(fc.nat(19)),
    condition: fc.constantFrom(...conditions),
    operation: fc.constantFrom(...operations),
    wide: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step, { minLength: 20, maxLength: 20 }), (steps) => {
    const assembler = new Assembler();
    const positions: number[] = [];
    let position = 0;
    for (const [i, { jump, condition, operation, wide }] of steps.entries()) {
      assembler.label(`l${i}`);
      positions.push(position);
      if (jump !== null) assembler.jumpIf32(R2, condition, 1, `l${jump}`);
      else if (wide) assembler.loadMap(R1, "map");
      else assembler.alu(R2, operation, i);
      position += jump === null && wide ? 2 : 1;
    }
    const { bytes } = assembler.assemble();
    const view = new DataView(bytes.buffer);
    for (const [i, { jump }] of steps.entries()) {
      if (jump === null) continue;
      const at = positions[i]!;
      assertEquals(at + 1 + view.getInt16(at * 8 + 2, true), positions[jump]);
    }
  }));
});
