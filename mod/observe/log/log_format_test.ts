import { assert, assertEquals, assertMatch } from "@std/assert";
import { formatGlog, formatLine, isJournal, type LogLine } from "./log_format.ts";

const LINE: LogLine = {
  level: "info",
  text: "Lease acquired: 10.20.48.0/24",
  time: new Date(2026, 0, 2, 3, 4, 5, 67),
  source: "acquire.ts:52",
  pid: 1234,
  fields: { subnet: "10.20.48.0/24" },
};

Deno.test("formatGlog() writes a line that glog's readers know", () => {
  assertEquals(
    formatGlog(LINE),
    "I0102 03:04:05.067000    1234 acquire.ts:52] Lease acquired: 10.20.48.0/24\n",
  );
  const time = new Date(2026, 11, 31, 23, 59, 59, 999);
  assertEquals(
    formatGlog({ level: "warning", text: "x", time, source: "a.ts:1", pid: 12345678 }),
    "W1231 23:59:59.999000 12345678 a.ts:1] x\n",
  );
  assertMatch(formatGlog({ ...LINE, level: "error", text: "" }), /^E0102 .* acquire\.ts:52\] \n$/);
});

Deno.test("formatLine() puts sd-daemon's priority before glog's line for the journal", () => {
  const glog = formatLine("glog", LINE);
  assertEquals(formatLine("journald", LINE), `<6>${glog}`);
  for (const [level, priority] of [["error", 3], ["warning", 4], ["debug", 7]] as const) {
    const line = formatLine("journald", { ...LINE, level });
    assertEquals(line, `<${priority}>${formatLine("glog", { ...LINE, level })}`);
  }
});

Deno.test("isJournal() compares the variable with the descriptor it is asked about", async () => {
  const path = await Deno.makeTempFile();
  try {
    const { dev, ino } = await Deno.stat(path);
    assert(isJournal(`${dev}:${ino}`, path));
    assert(!isJournal(`${dev}:${ino! + 1}`, path));
    assert(!isJournal(`${dev + 1}:${ino}`, path));
    for (const text of [undefined, "", `${dev}`, `${dev}:${ino}x`, `${ino}:${dev}`]) {
      assert(!isJournal(text, path), text);
    }
    assert(!isJournal(`${dev}:${ino}`, `${path}-that-is-not-there`));
  } finally {
    await Deno.remove(path);
  }
});
