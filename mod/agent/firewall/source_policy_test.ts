import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIPv4 } from "../../ip/mod.ts";
import { MASQUERADE_FEATURE, SourcePolicy } from "./source_policy.ts";

const CHECK = { port: 8285, by: "backend" } as const;
const A = parseIPv4("172.28.0.1")!;
const B = parseIPv4("172.28.0.2")!;

/** A policy over hosts that advertise masquerading, and the others. */
function policyOf(masquerading: Set<number>): SourcePolicy {
  return new SourcePolicy((host) =>
    masquerading.has(host) ? ["udp-kernel", MASQUERADE_FEATURE] : []
  );
}

Deno.test("SourcePolicy.verdict() is strict while every peer advertises masquerading, and names a peer that does not", () => {
  const masquerading = new Set([A]);
  const policy = policyOf(masquerading);
  assertEquals(policy.verdict(CHECK), {
    isStrict: true,
    reason: "no peer with credentials of the store",
  });
  policy.replace([A]);
  assertEquals(policy.verdict(CHECK), { isStrict: true, reason: "all of 1 peer masquerade" });
  // Upstream flannel has no node record.
  policy.change([], [B]);
  assertEquals(policy.verdict(CHECK), {
    isStrict: false,
    reason: "172.28.0.2 of 2 peers does not advertise masquerading",
  });
  masquerading.add(B).delete(A);
  policy.featuresChanged([A, B]);
  assertEquals(
    policy.verdict(CHECK).reason,
    "172.28.0.1 of 2 peers does not advertise masquerading",
  );
  masquerading.delete(B);
  policy.featuresChanged([B]);
  assertEquals(
    policy.verdict(CHECK).reason,
    "172.28.0.1 and 1 more of 2 peers do not advertise masquerading",
  );
  policy.change([A, B], []);
  assertEquals(policy.verdict(CHECK).isStrict, true);
});

Deno.test("SourcePolicy.verdict() leaves the decision to an option that is given", () => {
  const policy = policyOf(new Set([A]));
  policy.replace([A]);
  for (const isStrict of [true, false]) {
    const fixed = { isStrict, reason: `-udp-strict-source=${isStrict}` };
    assertEquals(policy.verdict({ ...CHECK, fixed }), fixed);
  }
  assertEquals(policy.verdict(undefined).isStrict, false);
});

Deno.test("SourcePolicy.change() agrees with replace() after any changes", () => {
  const host = fc.integer({ min: 1, max: 4 });
  const step = fc.oneof(
    fc.record({ lease: host }),
    fc.record({ end: fc.nat(20) }),
    fc.record({ toggle: host }),
  );
  fc.assert(fc.property(fc.array(step), (steps) => {
    const masquerading = new Set<number>();
    const policy = policyOf(masquerading);
    const leases: number[] = [];
    for (const step of steps) {
      if ("lease" in step) {
        leases.push(step.lease);
        policy.change([], [step.lease]);
      } else if ("end" in step) {
        policy.change(leases.splice(step.end, 1), []);
      } else {
        if (!masquerading.delete(step.toggle)) masquerading.add(step.toggle);
        policy.featuresChanged([step.toggle]);
      }
      const whole = policyOf(masquerading);
      whole.replace(leases);
      assertEquals(policy.verdict(CHECK).isStrict, whole.verdict(CHECK).isStrict);
      assertEquals(policy.verdict(CHECK).isStrict, leases.every((host) => masquerading.has(host)));
    }
  }));
});
