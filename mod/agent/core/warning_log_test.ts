import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { WarningLog } from "./warning_log.ts";

/** A warning log with a clock of its own. */
class Fixture {
  now = 0;
  readonly lines: string[] = [];
  readonly log = new WarningLog((message) => this.lines.push(message), () => this.now);

  /** Reports a problem every second for a while. */
  repeat(message: (second: number) => string, seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.log.report(message(second));
      this.now += 1000;
    }
  }
}

Deno.test("WarningLog.report() logs a problem when it begins, and then every minute", () => {
  const fixture = new Fixture();
  fixture.repeat(() => "no config", 180);
  assertEquals(fixture.lines, ["no config", "no config", "no config"]);
});

Deno.test("WarningLog.report() logs a changed problem at once", () => {
  const fixture = new Fixture();
  fixture.repeat(() => "no config", 3);
  fixture.repeat(() => "bad config", 3);
  fixture.repeat(() => "no config", 3);
  assertEquals(fixture.lines, ["no config", "bad config", "no config"]);
});

Deno.test("WarningLog.report() ignores etcd's index when it compares problems", () => {
  const fixture = new Fixture();
  fixture.repeat((index) => `100: Key not found (/flannel) [${index}]`, 30);
  assertEquals(fixture.lines, ["100: Key not found (/flannel) [0]"]);
  // A repeated line has the newest index.
  fixture.repeat((index) => `100: Key not found (/flannel) [${index + 30}]`, 31);
  assertEquals(fixture.lines[1], "100: Key not found (/flannel) [60]");
});

Deno.test("WarningLog.clear() returns whether there was a problem, and forgets it", () => {
  const fixture = new Fixture();
  const { log } = fixture;
  assertEquals([log.isActive, log.clear()], [false, false]);
  log.report("x");
  assertEquals([log.isActive, log.clear()], [true, true]);
  assertEquals([log.isActive, log.clear()], [false, false]);
  log.report("x");
  assertEquals(fixture.lines, ["x", "x"]);
});

Deno.test("WarningLog writes errors to the log by default", () => {
  using captured = captureLog();
  const log = new WarningLog();
  log.report("no config");
  log.report("no config");
  assertEquals(captured.lines, ["E no config"]);
});
