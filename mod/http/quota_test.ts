import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressKey, AddressQuota } from "./quota.ts";

Deno.test("addressKey() counts IPv4 by address and IPv6 by the /64 that a client has", () => {
  const cases = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2::1", "2001:db8:1:2"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["1::2:3:4:5:6:7", "1:0:2:3"],
    ["fe80::1%eth0", "fe80:0:0:0"],
    ["::1", "0:0:0:0"],
    ["::", "0:0:0:0"],
  ] as const;
  for (const [address, key] of cases) assertEquals(addressKey(address), key, address);
});

Deno.test("AddressQuota gives no address more than it may have, and forgets who has nothing", () => {
  const steps = fc.array(fc.record({
    address: fc.constantFrom("192.0.2.1", "192.0.2.2", "2001:db8::1"),
    amount: fc.integer({ min: 1, max: 8 }),
    isTaking: fc.boolean(),
  }));
  fc.assert(fc.property(steps, (list) => {
    const quota = new AddressQuota(10);
    const held = new Map<string, number[]>();
    for (const { address, amount, isTaking } of list) {
      const own = held.get(address) ?? [];
      held.set(address, own);
      if (isTaking) {
        const fits = own.reduce((sum, one) => sum + one, amount) <= 10 || own.length === 0;
        assertEquals(quota.take(address, amount), fits);
        if (fits) own.push(amount);
      } else {
        const last = own.pop();
        if (last !== undefined) quota.release(address, last);
      }
    }
    for (const [address, own] of held) for (const one of own) quota.release(address, one);
    assertEquals(quota.addresses, 0);
  }));
  const quota = new AddressQuota(2);
  assert(quota.take("192.0.2.1", 5), "what is too large by itself is given to who has nothing");
  assert(!quota.take("192.0.2.1"));
  assert(quota.take("192.0.2.2"));
});
