import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { FakeTime } from "../../agent/testing/time_lab.ts";
import {
  configureLog,
  error,
  flushLog,
  info,
  logCounts,
  type LogOptions,
  verbose,
  warning,
} from "./log.ts";

/** Returns the lines that `act` logs. */
function logged(act: () => void, options: LogOptions = {}): string[] {
  const lines: string[] = [];
  const before = configureLog({ ...options, write: (line) => lines.push(line) });
  try {
    act();
  } finally {
    configureLog(before);
  }
  return lines;
}

/** The line of this file that calls it. */
function line(): number {
  return Number(/log_test\.ts:(\d+)/.exec(new Error().stack!.split("\n")[2]!)![1]);
}

const GLOG = /^[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} [ \d]{7} [^ :\]]+:\d+\] [^\n]*\n$/;

Deno.test("info(), warning() and error() write one glog line each and name their caller", () => {
  let at = 0;
  const lines = logged(() => {
    at = line();
    info("one");
    warning("two", { subnet: "10.20.48.0/24" });
    error("three");
  });
  for (const text of lines) assertMatch(text, GLOG);
  assertEquals(lines.map((text) => text.slice(text.indexOf("log_test.ts"))), [
    `log_test.ts:${at + 1}] one\n`,
    `log_test.ts:${at + 2}] two\n`,
    `log_test.ts:${at + 3}] three\n`,
  ]);
  assertEquals(lines.map((text) => text[0]), ["I", "W", "E"]);
  assert(lines[0]!.includes(`${String(Deno.pid).padStart(7)} `));
});

Deno.test("info() names its caller in an async function too", async () => {
  const lines: string[] = [];
  const before = configureLog({ write: (line) => lines.push(line) });
  await (async () => {
    await Promise.resolve();
    info("later");
  })();
  configureLog(before);
  assertMatch(lines[0]!, / log_test\.ts:\d+\] later\n$/);
});

Deno.test("info() keeps to one line, whatever the message quotes", () => {
  const message = "client: etcd cluster is unavailable; error #0: dial\n; error #1: refused\n";
  assertMatch(
    logged(() => info(message))[0]!,
    /\] client: etcd cluster is unavailable; error #0: dial; ; error #1: refused\n$/,
  );
  assertMatch(
    logged(() => info("host \x1b[31mred\x1b[0m\r\u009b wants"))[0]!,
    /\] host \\x1b\[31mred\\x1b\[0m\\x0d\\x9b wants\n$/,
  );
  const texts = fc.array(fc.nat(0x3000)).map((codes) => String.fromCharCode(...codes));
  fc.assert(fc.property(texts, (message) => {
    const [text, ...more] = logged(() => warning(message));
    assertEquals(more, []);
    assertMatch(text!, GLOG);
    assert(!/\p{Cc}/u.test(text!.slice(0, -1)));
  }));
});

Deno.test("verbose() writes up to the verbosity that is set", () => {
  const write = () => {
    verbose(1, "one");
    verbose(2, "two");
    verbose(3, "three");
  };
  assertEquals(logged(write), []);
  const lines = logged(write, { verbosity: 2 });
  assertEquals(lines.map((text) => text.slice(text.indexOf("] ") + 2)), ["one\n", "two\n"]);
  assertEquals(lines.map((text) => text[0]), ["I", "I"]);
});

Deno.test("configureLog() turns lines into JSON with the fields as members", () => {
  const subnet = { toString: () => "10.20.48.0/24" };
  const [text, ...more] = logged(
    () => warning("two\nlines", { subnet, count: 3, reason: "no", error: undefined }),
    { format: "json" },
  );
  assertEquals(more, []);
  assert(text!.endsWith("}\n"));
  const { time, source, ...rest } = JSON.parse(text!);
  assertEquals(rest, {
    level: "warning",
    message: "two; lines",
    pid: Deno.pid,
    subnet: "10.20.48.0/24",
    count: 3,
    reason: "no",
  });
  assert(Math.abs(Date.parse(time) - Date.now()) < 60_000 && time.endsWith("Z"));
  assertMatch(source, /^log_test\.ts:\d+$/);
});

Deno.test("configureLog() returns the settings, and changes only those that it is given", () => {
  const before = configureLog({ verbosity: 3 });
  const between = configureLog(before);
  assertEquals(between, { ...before, verbosity: 3 });
  assertEquals(configureLog({}), before);
});

Deno.test("configureLog() writes glog's lines with a priority for the journal", () => {
  const lines = logged(() => {
    info("one");
    warning("two");
    error("three");
    verbose(1, "four");
  }, { format: "journald", verbosity: 1 });
  assertEquals(lines.map((text) => text.slice(0, 4)), ["<6>I", "<4>W", "<3>E", "<7>I"]);
  for (const text of lines) assertMatch(text.slice(3), GLOG);
});

Deno.test("configureLog() counts a line that comes again and again, and no detail", () => {
  const options = { limitRepeats: true, verbosity: 1, format: "json" } as const;
  const before = { ...logCounts() };
  using _time = new FakeTime();
  const lines = logged(() => {
    for (let i = 0; i < 20; i++) warning("again", { subnet: "10.20.48.0/24" });
    for (let i = 0; i < 20; i++) verbose(1, "detail");
    flushLog();
  }, options).map((text) => JSON.parse(text));
  assertEquals(lines.length, 5 + 20 + 1);
  const { message, repeats, subnet, level, source } = lines.at(-1);
  assertEquals({ message, repeats, subnet, level }, {
    message: "The same line 15 times more in 0 s: again",
    repeats: 15,
    subnet: "10.20.48.0/24",
    level: "warning",
  });
  assertEquals(source, lines[0].source);
  assertEquals(logCounts().warning - before.warning, 20);
  assertEquals(logCounts().debug - before.debug, 20);
});

Deno.test("info() shortens a value over 200 bytes, in its message and in its field", () => {
  const before = `{"a": "${"x".repeat(5_000_000)}"}`;
  const after = `{"b": "${"é".repeat(200)}"}`;
  const [line] = logged(
    () => info(`Config changed: ${before} is now ${after}`, { config: after, previous: before }),
    { format: "json" },
  );
  const { message, config, previous } = JSON.parse(line!);
  assertEquals(previous, `${before.slice(0, 200)}... (5000009 bytes)`);
  // The last character has two bytes, of which only one would fit.
  assertEquals(config, `${after.slice(0, 7 + 96)}... (409 bytes)`);
  assertEquals(message, `Config changed: ${previous} is now ${config}`);
});

Deno.test("error() shortens a message that quotes more than a line bears", () => {
  const page = `the server answered ${"<p>".repeat(10_000)}`;
  const [line] = logged(() => error(page, { error: page }), { format: "json" });
  const { message, error: field } = JSON.parse(line!);
  assertEquals(message, `${page.slice(0, 4000)}... (30020 bytes)`);
  assertEquals(field, message);
});

Deno.test("configureLog() sums up lines of a kind that come by the thousand, and leaves others alone", () => {
  using _time = new FakeTime();
  const lines = logged(() => {
    for (let i = 0; i < 5_000; i++) warning(`Ignoring subnet ${i}`, { subnet: `${i}` });
    warning("another line");
    for (let i = 0; i < 500; i++) verbose(1, `detail ${i}`);
    flushLog();
  }, { limitRepeats: true, verbosity: 1, format: "json" }).map((text) => JSON.parse(text));
  const kind = lines.filter(({ message }) => message.includes("Ignoring"));
  assertEquals(kind.length, 100 + 1);
  const { message, repeats, subnet } = kind.at(-1);
  assertMatch(message, /^4900 more lines like the following in 0 s: Ignoring subnet 4999$/);
  assertEquals([repeats, subnet], [4900, "4999"]);
  assertEquals(lines.length - kind.length, 1 + 500);
});

/** Runs a program that logs to standard error, which the caller holds. */
function logging(program: string): Deno.ChildProcess {
  const module = new URL("./log.ts", import.meta.url).href;
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", `import { info } from ${JSON.stringify(module)};\n${program}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

Deno.test("info() writes to standard error, where the reader may be slow", async () => {
  const { stdout, stderr, success } = await (async () => {
    const process = logging(`for (let i = 0; i < 3000; i++) info("line " + i + ".".repeat(50));`);
    await process.stdin.close();
    return await process.output();
  })();
  assert(success);
  assertEquals(stdout.length, 0);
  const lines = new TextDecoder().decode(stderr).split("\n");
  assertEquals(lines.length, 3001);
  assertMatch(lines[2999]!, /\] line 2999\.{50}$/);
});

Deno.test("info() outlives the reader of standard error", async () => {
  const process = logging(`
    await Deno.stdin.read(new Uint8Array(1));
    for (let i = 0; i < 3; i++) info("nobody reads this");
    console.log("alive");
  `);
  await process.stderr.cancel();
  const writer = process.stdin.getWriter();
  await writer.write(new Uint8Array(1));
  await writer.close();
  assertEquals(await new Response(process.stdout).text(), "alive\n");
  assert((await process.status).success);
});
