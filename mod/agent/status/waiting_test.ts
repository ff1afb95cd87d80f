import { assert, assertEquals } from "@std/assert";
import { WaitingNetworks } from "./waiting.ts";

Deno.test("WaitingNetworks lists only waiting networks, and the start of their wait", async () => {
  const waiting = new WaitingNetworks();
  for (const name of ["green", "blue"]) waiting.begin(name, `/run/n/${name}.env`);
  assertEquals(waiting.views, [
    { name: "blue", subnetFile: "/run/n/blue.env", warning: undefined },
    { name: "green", subnetFile: "/run/n/green.env", warning: undefined },
  ]);
  waiting.report("green", "no config");
  const { since } = waiting.views[1]!.warning!;
  assert(Math.abs(Date.now() - since) < 60_000);
  await new Promise((resolve) => setTimeout(resolve, 5));
  waiting.report("green", "etcd is down");
  // It waits since it began to, whatever for.
  assertEquals(waiting.views[1]!.warning, { since, message: "etcd is down" });

  waiting.end("green");
  waiting.report("green", "a line that comes late");
  assertEquals(waiting.views.map(({ name }) => name), ["blue"]);
  waiting.begin("green", "/run/n/green.env");
  assertEquals(waiting.views[1]!.warning, undefined);
});
