import { assertEquals } from "@std/assert";
import { libc, monitor, monitorRuleset } from "../../../mod/sys/mod.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

/** How many waits for the kernel's events this process has: each can be woken by an eventfd(2). */
function waits(): number {
  return [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`) === "anon_inode:[eventfd]";
    } catch {
      return false; // The directory's own, closed by now.
    }
  }).length;
}

Deno.test("monitor() and monitorRuleset() take a thread each, for as many networks as there are", async () => {
  const before = waits();
  const stop = new AbortController();
  const { signal } = stop;
  const watching = Array.from({ length: 40 }, () => [
    ...[monitor(["link", "address"], { signal }), monitor(["link", "route"], { signal })],
    monitorRuleset({ signal }),
  ]).flat().map(async (events) => {
    for await (const _ of events);
  });
  assertEquals(waits() - before, 3);
  // It takes one of the runtime's 32 threads to read a file.
  await Deno.readTextFile("/proc/self/comm");
  stop.abort();
  await Promise.all(watching);
  while (waits() > before) await new Promise((resolve) => setTimeout(resolve, 5));
  const again = new AbortController();
  monitor(["link", "route"], { signal: again.signal });
  assertEquals(waits() - before, 1);
  again.abort();
  while (waits() > before) await new Promise((resolve) => setTimeout(resolve, 5));
});
