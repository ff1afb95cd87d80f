import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { SlowCommand } from "./slow_command.ts";
import { FakeTime } from "../testing/time_lab.ts";

Deno.test("SlowCommand names the command that runs, within 5 s and then once a minute", () => {
  using time = new FakeTime();
  using log = captureLog();
  const slow = new SlowCommand();
  let calls = 0;
  const job = slow.start(() => calls++);
  slow.onCommand("iptables");
  slow.onCommand("iptables-save");
  time.tick(4_999);
  assertEquals([slow.isSlow, slow.warning, log.lines.length], [false, undefined, 0]);
  time.tick(1);
  assertEquals(slow.isSlow, true);
  const first = "waiting for iptables-save (5 s) to set up the firewall";
  assertEquals(slow.warning?.message, first);
  time.tick(30_000);
  slow.onCommand("nft");
  time.tick(5_000);
  time.tick(60_000);
  assertEquals(log.lines, [
    `W ${first}`,
    "W waiting for nft (40 s) to set up the firewall",
    "W waiting for nft (100 s) to set up the firewall",
  ]);
  assertEquals(calls, 20);

  // A job that fails ends the wait, not the warning.
  job[Symbol.dispose]();
  assertEquals([slow.isSlow, time.planned.length], [false, 0]);
  assertEquals(slow.warning?.message, "waiting for nft (100 s) to set up the firewall");
  assertEquals([slow.clear(), slow.warning, slow.clear()], [true, undefined, false]);
});

Deno.test("SlowCommand does not report commands that end in time", () => {
  using time = new FakeTime();
  using log = captureLog();
  const slow = new SlowCommand();
  for (let i = 0; i < 3; i++) {
    using _job = slow.start(() => {});
    slow.onCommand("iptables-save");
    time.tick(4_000);
  }
  time.tick(60_000);
  assertEquals([log.lines, slow.warning], [[], undefined]);
});
