import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { WarningLog } from "./warning_log.ts";

/** A state log with a clock of its own. */
class Fixture {
  now = 0;
  readonly lines: string[] = [];
  readonly log = new WarningLog((message) => this.lines.push(message), () => this.now);

  /** The same trouble every second for a while. */
  repeat(message: (second: number) => string, seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.log.report(message(second));
      this.now += 1000;
    }
  }
}

Deno.test("WarningLog.report() speaks when it begins, and then every minute", () => {
  const fixture = new Fixture();
  fixture.repeat(() => "no config", 180);
  assertEquals(fixture.lines, ["no config", "no config", "no config"]);
});

Deno.test("WarningLog.report() speaks when the trouble changes", () => {
  const fixture = new Fixture();
  fixture.repeat(() => "no config", 3);
  fixture.repeat(() => "bad config", 3);
  fixture.repeat(() => "no config", 3);
  assertEquals(fixture.lines, ["no config", "bad config", "no config"]);
});

Deno.test("WarningLog.report() takes etcd's index for no change", () => {
  const fixture = new Fixture();
  fixture.repeat((index) => `100: Key not found (/flannel) [${index}]`, 30);
  assertEquals(fixture.lines, ["100: Key not found (/flannel) [0]"]);
  // The newest is told when it is told.
  fixture.repeat((index) => `100: Key not found (/flannel) [${index + 30}]`, 31);
  assertEquals(fixture.lines[1], "100: Key not found (/flannel) [60]");
});

Deno.test("WarningLog.clear() says whether there was trouble, and forgets it", () => {
  const fixture = new Fixture();
  const { log } = fixture;
  assertEquals([log.isActive, log.clear()], [false, false]);
  log.report("x");
  assertEquals([log.isActive, log.clear()], [true, true]);
  assertEquals([log.isActive, log.clear()], [false, false]);
  log.report("x");
  assertEquals(fixture.lines, ["x", "x"]);
});

Deno.test("WarningLog writes to the log as an error unless told otherwise", () => {
  using captured = captureLog();
  const log = new WarningLog();
  log.report("no config");
  log.report("no config");
  assertEquals(captured.lines, ["E no config"]);
});
