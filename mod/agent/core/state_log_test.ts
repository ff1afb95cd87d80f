import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { StateLog } from "./state_log.ts";

/** A state log with a clock of its own. */
class Fixture {
  now = 0;
  readonly lines: string[] = [];
  readonly log = new StateLog((message) => this.lines.push(message), () => this.now);

  /** The same trouble every second for a while. */
  troubles(message: (second: number) => string, seconds: number): void {
    for (let second = 0; second < seconds; second++) {
      this.log.trouble(message(second));
      this.now += 1000;
    }
  }
}

Deno.test("StateLog.trouble() speaks when it begins, and then every minute", () => {
  const fixture = new Fixture();
  fixture.troubles(() => "no config", 180);
  assertEquals(fixture.lines, ["no config", "no config", "no config"]);
});

Deno.test("StateLog.trouble() speaks when the trouble changes", () => {
  const fixture = new Fixture();
  fixture.troubles(() => "no config", 3);
  fixture.troubles(() => "bad config", 3);
  fixture.troubles(() => "no config", 3);
  assertEquals(fixture.lines, ["no config", "bad config", "no config"]);
});

Deno.test("StateLog.trouble() takes etcd's index for no change", () => {
  const fixture = new Fixture();
  fixture.troubles((index) => `100: Key not found (/flannel) [${index}]`, 30);
  assertEquals(fixture.lines, ["100: Key not found (/flannel) [0]"]);
  // The newest is told when it is told.
  fixture.troubles((index) => `100: Key not found (/flannel) [${index + 30}]`, 31);
  assertEquals(fixture.lines[1], "100: Key not found (/flannel) [60]");
});

Deno.test("StateLog.clear() says whether there was trouble, and forgets it", () => {
  const fixture = new Fixture();
  const { log } = fixture;
  assertEquals([log.isTroubled, log.clear()], [false, false]);
  log.trouble("x");
  assertEquals([log.isTroubled, log.clear()], [true, true]);
  assertEquals([log.isTroubled, log.clear()], [false, false]);
  log.trouble("x");
  assertEquals(fixture.lines, ["x", "x"]);
});

Deno.test("StateLog writes to the log as an error unless told otherwise", () => {
  using captured = captureLog();
  const log = new StateLog();
  log.trouble("no config");
  log.trouble("no config");
  assertEquals(captured.lines, ["E no config"]);
});
