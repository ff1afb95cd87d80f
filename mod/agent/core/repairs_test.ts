import { assert, assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { Repairs } from "./repairs.ts";
import { FakeTime } from "../testing/time_lab.ts";

const BACKSTOP = 300_000;
const REFUSED = 10_000;

/** Repairs under a stopped clock; each repair succeeds at once by default. */
class Fixture implements Disposable {
  readonly time = new FakeTime();
  readonly log = captureLog();
  repaired = 0;
  refused = 0;
  readonly repairs = new Repairs(() => {
    this.repaired++;
    this.repairs.done(this.refused);
  });

  [Symbol.dispose](): void {
    this.repairs[Symbol.dispose]();
    this.log[Symbol.dispose]();
    this.time[Symbol.dispose]();
  }
}

Deno.test("Repairs sets no timer before the first event", () => {
  using fixture = new Fixture();
  assertEquals(fixture.time.planned, []);
});

Deno.test("Repairs.request() answers simultaneous requests with one repair, and soon", () => {
  using fixture = new Fixture();
  const { repairs, time, log } = fixture;
  repairs.request("route to 10.20.1.0/24 removed");
  time.tick(15);
  repairs.request("route to 10.20.2.0/24 removed");
  assertEquals(fixture.repaired, 0);
  time.tick(5);
  assertEquals(fixture.repaired, 1);
  assertEquals(log.lines, [
    "W Repairing: route to 10.20.1.0/24 removed",
    "W Repairing: route to 10.20.2.0/24 removed",
  ]);
  // Nothing but the backstop is left.
  assertEquals(time.planned, [BACKSTOP]);
});

Deno.test("Repairs.done() sets the backstop, which repairs every five minutes", () => {
  using fixture = new Fixture();
  fixture.repairs.done(0);
  fixture.time.tick(BACKSTOP - 1);
  assertEquals(fixture.repaired, 0);
  fixture.time.tick(1);
  assertEquals(fixture.repaired, 1);
  fixture.time.tick(2 * BACKSTOP);
  assertEquals(fixture.repaired, 3);
});

Deno.test("Repairs doubles its delay while objects are deleted in a loop", () => {
  using fixture = new Fixture();
  const { repairs, time } = fixture;
  const delays: number[] = [];
  for (let i = 0; i < 10; i++) {
    repairs.request("route removed");
    delays.push(time.planned[0]!);
    time.tick(delays[i]!);
  }
  assertEquals(delays, [20, 20, 40, 80, 160, 320, 640, 800, 800, 800]);
  assertEquals(fixture.repaired, 10);
});

Deno.test("Repairs returns to the short delay after a calm period", () => {
  using fixture = new Fixture();
  const { repairs, time } = fixture;
  for (let i = 0; i < 10; i++) {
    repairs.request("route removed");
    time.tick(800);
  }
  time.tick(10_000);
  repairs.request("route removed");
  assertEquals(time.planned[0], 20);
});

Deno.test("Repairs logs each object once a minute", () => {
  using fixture = new Fixture();
  const { repairs, time, log } = fixture;
  for (let i = 0; i < 130; i++) {
    repairs.request("a");
    if (i === 70) repairs.request("b");
    time.tick(1000);
  }
  assertEquals(log.lines.filter((line) => line.endsWith(" a")).length, 3);
  assertEquals(log.lines.filter((line) => line.endsWith(" b")).length, 1);
});

Deno.test("Repairs tries refused objects again in ten seconds", () => {
  using fixture = new Fixture();
  const { repairs, time } = fixture;
  repairs.retry();
  repairs.retry();
  assertEquals(time.planned, [REFUSED]);
  fixture.refused = 1;
  time.tick(REFUSED);
  assertEquals([fixture.repaired, time.planned], [1, [REFUSED, BACKSTOP]]);
  fixture.refused = 0;
  time.tick(REFUSED);
  assertEquals([fixture.repaired, time.planned], [2, [BACKSTOP]]);
});

Deno.test("Repairs.request() does not wait for a later retry", () => {
  using fixture = new Fixture();
  const { repairs, time } = fixture;
  repairs.done(3);
  time.tick(100);
  repairs.request("route removed");
  assert(time.planned[0]! <= 40, String(time.planned));
  time.tick(40);
  assertEquals(fixture.repaired, 1);
  // That repair has found nothing refused: no retry is left of the one before.
  assertEquals(time.planned.length, 1);
  assert(time.planned[0]! > REFUSED);
});

Deno.test("Repairs bounds its memory of logged objects", () => {
  using fixture = new Fixture();
  const { repairs, log } = fixture;
  repairs.request("device removed");
  for (let i = 0; i < 1001; i++) repairs.request(`route ${i} removed`);
  repairs.request("device removed");
  assertEquals(log.lines.filter((line) => line.endsWith("device removed")).length, 2);
  // Lines logged after the reset are remembered.
  repairs.request("route 1000 removed");
  assertEquals(log.lines.length, 1003);
});

Deno.test("Repairs leaves no timer behind", () => {
  using fixture = new Fixture();
  fixture.repairs.done(1);
  fixture.repairs.request("route removed");
  fixture.repairs[Symbol.dispose]();
  assertEquals(fixture.time.planned, []);
});
