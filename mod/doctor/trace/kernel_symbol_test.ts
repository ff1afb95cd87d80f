import { assertEquals } from "@std/assert";
import { findSymbol } from "./kernel_symbol.ts";

const SYMBOLS = `ffffffff81000000 T _text
ffffffff81a00010 t ip_rcv_finish
ffffffff81a00200 T ip_forward
ffffffff81a00300 d some_data
ffffffff82000000 T ip_output\t[module]
`;

Deno.test("findSymbol() finds the function that an address lies in", () => {
  assertEquals(findSymbol(SYMBOLS, 0xffffffff81a00010n), "ip_rcv_finish");
  assertEquals(findSymbol(SYMBOLS, 0xffffffff81a001ffn), "ip_rcv_finish");
  assertEquals(findSymbol(SYMBOLS, 0xffffffff81a00340n), "ip_forward");
  assertEquals(findSymbol(SYMBOLS, 0xffffffff90000000n), "ip_output");
  assertEquals(findSymbol(SYMBOLS, 1n), undefined);
});

Deno.test("findSymbol() finds nothing where addresses are hidden", () => {
  const hidden = SYMBOLS.replaceAll(/^[0-9a-f]+/gm, "0".repeat(16));
  assertEquals(findSymbol(hidden, 0xffffffff81a00010n), undefined);
});
