import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { parseArguments } from "./arguments.ts";
import { fuzz, inputOf, literal } from "./driver.ts";
import { bytesNear, jsonNear, textNear } from "./mutate.ts";
import { FuzzSession } from "./session.ts";
import { type FuzzTarget, refusing, type Run } from "./target.ts";
import { TARGETS } from "./targets.ts";

const SEEDS = [Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)];

function target(run: Run<Uint8Array>): FuzzTarget<Uint8Array> {
  return { name: "toy", seeds: SEEDS, inputs: bytesNear(SEEDS), start: () => run };
}

/** A parser that trusts a length. */
const trusting: Run<Uint8Array> = (bytes) => {
  if (bytes.length > 4) new DataView(bytes.slice().buffer).getUint8(bytes[3]!);
};

Deno.test("fuzz() finds a read out of bounds, and shrinks its input", async () => {
  const { executions, finding } = await fuzz(target(trusting), trusting, {
    seed: 7,
    milliseconds: 30_000,
  });
  assert(executions > 1);
  assertStringIncludes(finding!.message, "RangeError");
  const [, bytes] = /^Uint8Array\.of\((.*)\)$/.exec(finding!.literal)!;
  assert(bytes!.split(", ").length <= 8, finding!.literal);
});

Deno.test("fuzz() runs every seed, however short the time is, and reports one that fails as it is", async () => {
  const seen: Uint8Array[] = [];
  const toy = target((bytes) => void seen.push(bytes));
  await fuzz(toy, (bytes) => void seen.push(bytes), { seed: 7, milliseconds: 0 });
  assertEquals(seen[0], SEEDS[0]);
  const refuse = () => Promise.reject(new TypeError("no"));
  const { executions, finding } = await fuzz(target(refuse), refuse, { seed: 7, milliseconds: 0 });
  assertEquals([executions, finding!.literal], [1, literal(SEEDS[0])]);
});

Deno.test("inputOf() generates the input of a run again", async () => {
  const seen: Uint8Array[] = [];
  const toy = target(() => {});
  await fuzz(toy, (bytes) => void seen.push(bytes), { seed: 7, milliseconds: 300 });
  for (const number of [1, 2, Math.min(40, seen.length)]) {
    assertEquals(await inputOf(toy, 7, number), seen[number - 1]);
  }
});

Deno.test("FuzzSession.run() ends a target that does not come back, and names its input", async () => {
  using session = new FuzzSession({
    hangMs: 1_000,
    module: new URL("silent_worker.ts", import.meta.url),
  });
  const { executions, finding } = await session.run("lease_value", 7, 60_000);
  assertEquals(executions, 1);
  assertStringIncludes(finding!.message, "does not come back");
  const { seeds } = TARGETS.find(({ name }) => name === "lease_value")!;
  assertEquals(finding!.literal, literal(seeds[0]));
});

Deno.test("refusing() passes errors on that the parser does not document", () => {
  assertEquals(refusing([SyntaxError], () => JSON.parse("[]")), []);
  assertEquals(refusing([SyntaxError], () => JSON.parse("[")), undefined);
  let message = "";
  try {
    refusing([RangeError], () => JSON.parse("["));
  } catch (error) {
    message = (error as Error).name;
  }
  assertEquals(message, "SyntaxError");
});

Deno.test("generators give both valid and broken inputs", () => {
  const texts = fc.sample(jsonNear(['{"a":1,"b":[{"c":"d"}]}'], ["a"]), { seed: 7, numRuns: 500 });
  const valid = texts.filter((text) => refusing([SyntaxError], () => (JSON.parse(text), true)));
  assert(valid.length > 100 && valid.length < 450, `${valid.length} of 500 are JSON`);
  assert(new Set(fc.sample(textNear(["abc"]), { seed: 7, numRuns: 200 })).size > 100);
  assert(new Set(fc.sample(bytesNear(SEEDS), { seed: 7, numRuns: 200 }).map(String)).size > 100);
});

Deno.test("targets have names of their own, and seeds", () => {
  assertEquals(new Set(TARGETS.map(({ name }) => name)).size, TARGETS.length);
  for (const { name, seeds } of TARGETS) assert(seeds.length > 0, name);
});

Deno.test("parseArguments() reads minutes, seed and targets, and reports usage errors", () => {
  const read = (...args: string[]) => {
    const options = parseArguments(args, TARGETS);
    if (typeof options === "string") return options;
    const { minutes, seed, targets } = options;
    return [minutes, seed, targets.length];
  };
  assertEquals(read("--minutes=0.5", "--seed=7"), [0.5, 7, TARGETS.length]);
  assertEquals(read("--minutes=1", "--seed=7", "--target=aws_xml"), [1, 7, 1]);
  assertStringIncludes(read() as string, "--minutes is missing");
  assertStringIncludes(read("--minutes=x") as string, "cannot use --minutes=x");
  assertStringIncludes(read("--minutes=1", "--target=xml") as string, "no target xml; there are ");
});
