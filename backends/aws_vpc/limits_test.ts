import { assertEquals, assertMatch } from "@std/assert";
import { Prefix } from "../../mod/ip/mod.ts";
import type { Ec2Route } from "./ec2.ts";
import { limitWarning } from "./limits.ts";

function routes(count: number, propagated = 0): Ec2Route[] {
  return Array.from({ length: count + propagated }, (_, i) => ({
    destination: new Prefix(i * 256, 24),
    target: i === 0 ? "local" : "eni-1",
    state: "active",
    isOwn: i > 0 && i < count,
  }));
}

Deno.test("limitWarning() speaks before 500 routes and before 1000, and not in between", () => {
  for (const count of [1, 449, 501, 899]) {
    assertEquals(limitWarning("rtb-1", routes(count)), undefined);
  }
  for (const count of [450, 500]) {
    assertMatch(
      limitWarning("rtb-1", routes(count))!,
      /rtb-1 holds \d+ routes, and AWS allows 500/,
    );
  }
  for (const count of [900, 1000]) {
    assertMatch(limitWarning("rtb-1", routes(count))!, /AWS allows 1000 at the very most.*vxlan/);
  }
});

Deno.test("limitWarning() leaves out routes that a gateway propagates", () => {
  assertEquals(limitWarning("rtb-1", routes(200, 400)), undefined);
});
