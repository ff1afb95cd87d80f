import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { readLegacyTrace } from "./legacy_trace.ts";

Deno.test("readLegacyTrace() reads what xt TRACE writes, whatever the chain is called", () => {
  const chain = fc.stringMatching(/^[^\s][^\n]{0,27}$/);
  const type = fc.constantFrom("rule" as const, "policy" as const, "return" as const);
  fc.assert(fc.property(chain, type, fc.nat(), (chain, type, number) => {
    const prefix = `TRACE: filter:${chain}:${type}:${number} `;
    assertEquals(readLegacyTrace(prefix), { table: "filter", chain, type, number });
  }));
});

Deno.test("readLegacyTrace() passes over prefixes of the target LOG", () => {
  for (const prefix of ["", "x", "[UFW BLOCK] ", "TRACE: filter:FORWARD:rule", "TRACE: a"]) {
    assertEquals(readLegacyTrace(prefix), undefined);
  }
});
