import { assert, assertEquals } from "@std/assert";
import { feedWatchdog, watchdogTimeout } from "./watchdog.ts";

function environment(variables: Record<string, string>) {
  return (name: string) => variables[name];
}

Deno.test("watchdogTimeout() is what systemd asks this process for, in milliseconds", () => {
  const of = (variables: Record<string, string>) => watchdogTimeout(environment(variables), 77);
  assertEquals(of({ WATCHDOG_USEC: "60000000" }), 60_000);
  assertEquals(of({ WATCHDOG_USEC: "60000000", WATCHDOG_PID: "77" }), 60_000);
  assertEquals(of({ WATCHDOG_USEC: "60000000", WATCHDOG_PID: "78" }), undefined);
  for (const text of ["", "0", "-1", "60s", "1e6", " 5"]) {
    assertEquals(of({ WATCHDOG_USEC: text }), undefined, text);
  }
  assertEquals(of({}), undefined);
});

Deno.test("feedWatchdog() sets no timer where nobody watches", () => {
  const { signal } = new AbortController();
  const asked = () => {
    throw new Error("nobody asked");
  };
  assertEquals(
    feedWatchdog({ isWell: asked, signal, environment: environment({}) }),
    undefined,
  );
});

Deno.test("feedWatchdog() notifies systemd while the agent is well, stops, and resumes", async () => {
  const stopping = new AbortController();
  const sent: string[] = [];
  let well = true;
  let asked = 0;
  const until = async (condition: () => boolean) => {
    const limit = Date.now() + 60_000;
    while (!condition()) {
      assert(Date.now() < limit, `asked ${asked}, sent ${sent.length}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  try {
    const timeout = feedWatchdog({
      isWell: () => {
        asked++;
        return well;
      },
      signal: stopping.signal,
      environment: environment({ WATCHDOG_USEC: "20000" }),
      notify: (assignment) => sent.push(assignment),
    });
    assertEquals(timeout, 20);
    await until(() => sent.length >= 3);
    well = false;
    const silent = sent.length;
    const last = asked;
    await until(() => asked >= last + 3);
    assertEquals(sent.length, silent);
    well = true;
    await until(() => sent.length >= silent + 3);
    stopping.abort();
    const ended = asked;
    await new Promise((resolve) => setTimeout(resolve, 60));
    assertEquals(asked, ended);
    assertEquals(new Set(sent), new Set(["WATCHDOG=1"]));
  } finally {
    stopping.abort();
  }
});
