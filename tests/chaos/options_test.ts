import { assertEquals, assertStringIncludes } from "@std/assert";
import { parseOptions } from "./options.ts";

const FAULTS = ["cut-off", "crowd"];

Deno.test("parseOptions() takes hours or minutes, a seed, stores and faults", () => {
  assertEquals(
    parseOptions(["--hours=2", "--seed=7", "--store=v2", "--only=crowd", "--other=/a"], FAULTS),
    { minutes: 120, seed: 7, stores: ["v2"], only: ["crowd"], other: "/a" },
  );
  const { stores, minutes } = parseOptions(["--minutes=0.5"], FAULTS) as Exclude<
    ReturnType<typeof parseOptions>,
    string
  >;
  assertEquals([stores, minutes], [["v2", "v3", "embedded"], 0.5]);
});

Deno.test("parseOptions() says what is wrong", () => {
  for (
    const [args, words] of [
      [[], "--minutes or --hours is missing"],
      [["--minutes=1", "--store=consul"], "cannot use --store=consul"],
      [["--minutes=0"], "cannot use --minutes=0"],
      [["--minutes=1", "--only=rain"], "no fault rain; there are cut-off, crowd"],
    ] as const
  ) assertStringIncludes(parseOptions(args, FAULTS) as string, words);
});
