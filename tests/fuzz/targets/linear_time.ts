import fc from "fast-check";
import { READERS, UNITS } from "../../lab/text_readers.ts";
import { assertLinear } from "../../lab/time_ratio.ts";
import type { FuzzTarget } from "../target.ts";

interface Repetition {
  readonly reader: number;
  readonly before: string;
  readonly repeated: readonly string[];
  readonly after: string;
}

/** Parsers of untrusted texts take linear time in repeated parts: compares the times of two lengths. */
export const linearTime: FuzzTarget<Repetition> = {
  name: "linear_time",
  seeds: [
    { reader: 0, before: "x", repeated: [" "], after: "x" },
    { reader: 29, before: "", repeated: ['"', "~", ": "], after: "%" },
  ],
  inputs: fc.record({
    reader: fc.nat(READERS.length - 1),
    before: fc.constantFrom("", "x", ...UNITS),
    repeated: fc.array(fc.constantFrom(...UNITS), { minLength: 1, maxLength: 4 }),
    after: fc.constantFrom("", "x", "\0", "\nx", ...UNITS),
  }),
  start: () => async ({ reader, before, repeated, after }) => {
    const [what, read] = READERS[reader]!;
    const unit = repeated.join("");
    await assertLinear(what, (length) => {
      const text = before + unit.repeat(Math.ceil(length / unit.length)) + after;
      return () => read(text);
    });
  },
};
