import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Exposition } from "./exposition.ts";
import { Histogram } from "./instruments.ts";

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly help: string;
  readonly type: string;
  readonly samples: readonly Sample[];
}

function assert(condition: boolean, message = "not of the format"): asserts condition {
  if (!condition) throw new Error(message);
}

/** Go's ParseFloat, for what the format allows. */
function parseValue(text: string): number {
  if (text === "NaN") return NaN;
  if (text === "+Inf" || text === "-Inf") return text === "+Inf" ? Infinity : -Infinity;
  assert(/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text), `not a value: ${text}`);
  return Number(text) + 0; // -0 is 0
}

function unescape(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, character) => {
    assert(`\\n"`.includes(character), `not an escape: \\${character}`);
    return character === "n" ? "\n" : character;
  });
}

/** Reads the format by the grammar of its description, without the code under test. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family & { samples: Sample[] }>();
  assert(text === "" || text.endsWith("\n"), "the last line must end with a line feed");
  let current: (Family & { samples: Sample[] }) | undefined;
  let named = "";
  const lines = text.split("\n").slice(0, -1);
  for (let i = 0; i < lines.length; i++) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/s.exec(lines[i]!);
    if (help !== null) {
      const type = /^# TYPE (\S+) (counter|gauge|histogram|summary|untyped)$/.exec(lines[++i]!)!;
      named = help[1]!;
      assertEquals(type[1], named);
      assert(!families.has(named), `all lines of ${named} must be one group`);
      families.set(
        named,
        current = { help: unescape(help[2]!), type: type[2]!, samples: [] },
      );
      continue;
    }
    const [, name, set = "", value] =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/s.exec(lines[i]!) ?? [];
    assert(name !== undefined && current !== undefined, `not a sample: ${lines[i]}`);
    const suffix = name.slice(named.length);
    assert(name.startsWith(named));
    assert(
      current.type === "histogram" ? /^_(bucket|sum|count)$/.test(suffix) : suffix === "",
      name,
    );
    const labels: Record<string, string> = {};
    const pair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"(,|$)/ys;
    while (pair.lastIndex < set.length) {
      const match = pair.exec(set);
      assert(match !== null, `not a set of labels: ${set}`);
      assert(!Object.hasOwn(labels, match[1]!));
      labels[match[1]!] = unescape(match[2]!);
    }
    current.samples.push({ name, labels, value: parseValue(value!) });
  }
  return families;
}

Deno.test("Exposition writes HELP, TYPE and samples of each family together", () => {
  const page = new Exposition();
  page.gauge("up", "Is it?\nA \\ too.", 1);
  page.counter("calls_total", "Calls.", 3, { call: "lease" });
  page.gauge("up", "Is it?\nA \\ too.", 0, { at: 'a"b\\c\nd' });
  const histogram = new Histogram([0.1, 1]);
  histogram.observe(0.5);
  page.histogram("wait_seconds", "Waits.", histogram, { kind: "x" });
  assertEquals(
    page.toString(),
    `# HELP up Is it?\\nA \\\\ too.
# TYPE up gauge
up 1
up{at="a\\"b\\\\c\\nd"} 0
# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{call="lease"} 3
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{kind="x",le="0.1"} 0
wait_seconds_bucket{kind="x",le="1"} 1
wait_seconds_bucket{kind="x",le="+Inf"} 1
wait_seconds_sum{kind="x"} 0.5
wait_seconds_count{kind="x"} 1
`,
  );
});

Deno.test("Exposition writes what a reader of the grammar reads back", () => {
  const name = fc.stringMatching(/^[a-zA-Z_:][a-zA-Z0-9_:]{0,10}$/);
  const label = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9_]{0,6}$/).filter((text) => text !== "le");
  const anything = fc.string({
    unit: fc.constantFrom("a", "\\", '"', "\n", " ", "}", ",", "é", "{"),
  });
  const family = fc.record({
    type: fc.constantFrom("counter", "gauge", "histogram"),
    help: anything,
    samples: fc.uniqueArray(
      fc.record({
        labels: fc.dictionary(label, anything, { maxKeys: 3, noNullPrototype: true }),
        value: fc.double(),
        values: fc.array(fc.double({ noNaN: true, min: -5, max: 5 })),
      }),
      { minLength: 1, maxLength: 4, selector: ({ labels }) => JSON.stringify(labels) },
    ),
  });
  fc.assert(fc.property(fc.dictionary(name, family, { noNullPrototype: true }), (families) => {
    const page = new Exposition();
    const expected = new Map<string, Family>();
    for (const [base, { type, help, samples }] of Object.entries(families)) {
      const name = type === "counter" ? `${base}_total` : base;
      if (expected.has(name)) return;
      const read: Sample[] = [];
      for (const { labels, value, values } of samples) {
        if (type === "histogram") {
          const histogram = new Histogram([-1, 0, 1]);
          values.forEach((value) => histogram.observe(value));
          page.histogram(name, help, histogram, labels);
          ["-1", "0", "1", "+Inf"].forEach((le, i) =>
            read.push({
              name: `${name}_bucket`,
              labels: { ...labels, le },
              value: values.filter((value) => value <= [-1, 0, 1, Infinity][i]!).length,
            })
          );
          read.push({ name: `${name}_sum`, labels, value: values.reduce((a, b) => a + b, 0) + 0 });
          read.push({ name: `${name}_count`, labels, value: values.length });
        } else {
          page[type as "counter" | "gauge"](name, help, value, labels);
          read.push({ name, labels, value: value + 0 });
        }
      }
      expected.set(name, { type, help, samples: read });
    }
    assertEquals(parse(page.toString()), expected);
  }));
});

Deno.test("Exposition refuses what the format does not allow", () => {
  const page = new Exposition();
  assertThrows(() => page.gauge("1x", "", 1), RangeError);
  assertThrows(() => page.gauge("a-b", "", 1), RangeError);
  assertThrows(() => page.counter("a", "", 1), RangeError, "_total");
  assertThrows(() => page.gauge("a", "", 1, { "b-c": "" }), RangeError);
  assertThrows(() => page.gauge("a", "", 1, { __a: "" }), RangeError);
  assertThrows(() => page.histogram("h", "", new Histogram([]), { le: "1" }), RangeError);
  page.gauge("twice", "one", 1);
  assertThrows(() => page.gauge("twice", "two", 1), RangeError, "two things");
});
