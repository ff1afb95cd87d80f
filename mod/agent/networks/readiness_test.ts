import { assertEquals } from "@std/assert";
import { NetworksReadiness } from "./readiness.ts";

Deno.test("NetworksReadiness waits for every network that was known at the start", () => {
  const readiness = new NetworksReadiness(["green", "blue"]);
  assertEquals(readiness.state, { isReady: false, status: "No network yet" });
  readiness.take("green", ["STATUS=Lease 10.2.1.0/24", "READY=1"]);
  readiness.take("red", ["READY=1"]);
  assertEquals(readiness.state.isReady, false);
  readiness.take("blue", ["READY=1"]);
  readiness.take("blue", ["STATUS=Lease 10.1.1.0/24"]);
  assertEquals(readiness.state, {
    isReady: true,
    status: "blue: Lease 10.1.1.0/24; green: Lease 10.2.1.0/24",
  });
});

Deno.test("NetworksReadiness takes any one network that is ready once the grace is over", () => {
  const readiness = new NetworksReadiness(["green", "blue"]);
  readiness.endGrace();
  assertEquals(readiness.state.isReady, false);
  readiness.take("blue", ["READY=1"]);
  assertEquals(readiness.state.isReady, true);
});

Deno.test("NetworksReadiness waits for nobody where there is no network, or none any more", () => {
  assertEquals(new NetworksReadiness([]).state.isReady, true);
  const readiness = new NetworksReadiness(["blue"]);
  readiness.take("blue", ["STATUS=waiting"]);
  readiness.remove("blue");
  assertEquals(readiness.state, { isReady: true, status: "No network yet" });
});
