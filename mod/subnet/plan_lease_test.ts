import { assert, assertEquals, assertThrows } from "@std/assert";
import { decodeNetworkConfig } from "../config/mod.ts";
import type { Lease } from "../lease/mod.ts";
import { ip, net } from "../store/testing/store_lab.ts";
import { fastest } from "../sys/testing/fastest.ts";
import { OutOfSubnetsError } from "./acquire.ts";
import { planLease } from "./plan_lease.ts";

const CONFIG = await decodeNetworkConfig(
  '{"Network": "10.20.0.0/16", "SubnetMin": "10.20.1.0", "SubnetMax": "10.20.2.0"}',
);
const OURS = ip("192.0.2.1");

function lease(subnet: string, publicIP = "192.0.2.1"): Lease {
  return { subnet: net(subnet), attributes: { publicIP: ip(publicIP) }, revision: "1" };
}

Deno.test("planLease() reuses the lease of our public IP, of several the one we had", () => {
  const [one, two] = [lease("10.20.1.0/24"), lease("10.20.2.0/24")];
  const first = planLease(CONFIG, [one, two], OURS, undefined);
  assertEquals([first.reused, first.isPicked, first.misfits], [one, false, []]);
  assertEquals(planLease(CONFIG, [one, two], OURS, two.subnet).reused, two);
});

Deno.test("planLease() takes the former subnet when it is free, else picks one", () => {
  const previous = net("10.20.2.0/24");
  assertEquals(planLease(CONFIG, [], OURS, previous), {
    ...{ subnet: previous, reused: undefined, isPicked: false, misfits: [] },
  });
  const taken = lease("10.20.2.0/24", "192.0.2.2");
  assertEquals(planLease(CONFIG, [taken], OURS, previous), {
    ...{ subnet: net("10.20.1.0/24"), reused: undefined, isPicked: true, misfits: [] },
  });
});

Deno.test("planLease() names the own leases that do not fit the config", () => {
  const misfit = lease("10.30.1.0/24");
  const { misfits, reused, subnet } = planLease(CONFIG, [misfit], OURS, misfit.subnet);
  assertEquals([misfits, reused], [[misfit], undefined]);
  assert(CONFIG.network.containsPrefix(subnet));
});

Deno.test("planLease() fails as the agent would when all subnets are leased", () => {
  const leases = [lease("10.20.1.0/24", "192.0.2.2"), lease("10.20.2.0/24", "192.0.2.3")];
  assertThrows(() => planLease(CONFIG, leases, OURS, undefined), OutOfSubnetsError);
});

Deno.test("planLease() is done with any number of own leases in the time that a sort of them takes", () => {
  const leases = Array.from(
    { length: 120_000 },
    (_, i) => lease(`10.${30 + (i >>> 16)}.${i >>> 8 & 255}.${i & 255}/32`),
  );
  const sort = fastest(3, () => leases.toSorted((a, b) => b.subnet.key - a.subnet.key));
  const plan = fastest(3, () => planLease(CONFIG, leases, OURS, undefined));
  // A few passes over them; each against each took a thousand times as long.
  assert(plan < 200 * Math.max(sort, 1), `${plan} ms, a sort ${sort} ms`);
});

Deno.test("planLease() leaves out what this host cannot use", () => {
  const unusable = [{ prefix: net("10.20.1.0/25"), reason: "meets 10.20.1.0/25" }];
  const held = lease("10.20.1.0/24");
  const plan = planLease(CONFIG, [held], OURS, held.subnet, unusable);
  assertEquals([String(plan.subnet), plan.reused, plan.misfits], ["10.20.2.0/24", undefined, [
    held,
  ]]);
  const taken = lease("10.20.2.0/24", "192.0.2.2");
  const error = assertThrows(
    () => planLease(CONFIG, [held, taken], OURS, undefined, unusable),
    OutOfSubnetsError,
  );
  assert(error.message.endsWith("or cannot be used on this host: one meets 10.20.1.0/25"));
});
