import { assertRejects } from "@std/assert";
import fc from "fast-check";
import { decodeNetworkConfig, unknownKeys } from "../../mod/config/mod.ts";
import { nearest } from "../../mod/config/nearest.ts";
import { READERS, UNITS } from "../lab/text_readers.ts";
import { assertLinear } from "../lab/time_ratio.ts";

for (const [what, read] of READERS) {
  Deno.test(`${what} is read in linear time, whatever repeats in it`, async () => {
    const ends = fc.constantFrom("", "x", "\0", ...UNITS);
    const unit = fc.oneof(
      fc.constantFrom(...UNITS),
      fc.tuple(fc.constantFrom(...UNITS), fc.constantFrom(...UNITS)).map(([a, b]) => a + b),
    );
    const check = (before: string, repeated: string, after: string) =>
      assertLinear(
        `${what} of ${JSON.stringify([before, repeated, after])}`,
        (length) => {
          const text = before + repeated.repeat(Math.ceil(length / repeated.length)) + after;
          return () => read(text);
        },
      );
    // Blanks at an end are often cut off first, and `.` stops at a line feed.
    for (const [before, after] of [["", "\0"], ["x", "x"], ["x", "\nx"]] as const) {
      for (const repeated of UNITS) await check(before, repeated, after);
    }
    await fc.assert(fc.asyncProperty(ends, unit, ends, check), { numRuns: 15 });
  });
}

Deno.test("nearest() takes no longer for a long word, which is near to nothing", async () => {
  const flags = ["iface", "iface-regex", "ip-masq", "etcd-endpoints", "subnet-file"];
  await assertLinear("nearest()", (length) => {
    const word = "a".repeat(length);
    return () => nearest(word, flags);
  }, 2);
});

Deno.test("a config of very many keys that mean nothing is read in linear time", async () => {
  await assertLinear("unknownKeys()", (length) => {
    const keys = Array.from({ length: length / 16 }, (_, i) => `"SubnetLem${i}":1`);
    const text = `{"Network":"10.20.0.0/16",${keys.join()}}`;
    return async () => unknownKeys(await decodeNetworkConfig(text));
  });
});

Deno.test("assertLinear() finds the pattern that was in parseHead()", async () => {
  await assertRejects(
    () => assertLinear("", (length) => () => `a${" ".repeat(length)}b`.split(/\s*,\s*/)),
    Error,
    "times as long",
  );
});
