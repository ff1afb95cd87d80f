import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { configureLog, error, formatGlog, info, type LogOptions, verbose, warning } from "./log.ts";

/** What `act` logs, a line each. */
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

Deno.test("formatGlog() writes a line that glog's readers know", () => {
  const time = new Date(2026, 0, 2, 3, 4, 5, 67);
  assertEquals(
    formatGlog("info", "Lease acquired: 10.20.48.0/24", time, "acquire.ts:52", 1234),
    "I0102 03:04:05.067000    1234 acquire.ts:52] Lease acquired: 10.20.48.0/24\n",
  );
  assertEquals(
    formatGlog("warning", "x", new Date(2026, 11, 31, 23, 59, 59, 999), "a.ts:1", 12345678),
    "W1231 23:59:59.999000 12345678 a.ts:1] x\n",
  );
  assertMatch(formatGlog("error", "", time, "a.ts:1", 1), /^E0102 .* a\.ts:1\] \n$/);
});

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
    () => warning("two\nlines", { subnet, count: 3, ok: true, none: null, absent: undefined }),
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
    ok: true,
    none: null,
  });
  assert(Math.abs(Date.parse(time) - Date.now()) < 60_000 && time.endsWith("Z"));
  assertMatch(source, /^log_test\.ts:\d+$/);
});

Deno.test("configureLog() returns what was set, and changes only what it is told", () => {
  const before = configureLog({ verbosity: 3 });
  const between = configureLog(before);
  assertEquals(between, { ...before, verbosity: 3 });
  assertEquals(configureLog({}), before);
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

Deno.test("info() outlives whoever read standard error", async () => {
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
