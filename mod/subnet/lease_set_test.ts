import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import type { Prefix } from "../ip/mod.ts";
import { type Lease, leaseKey } from "../lease/mod.ts";
import { net, vxlan } from "../store/testing/store_lab.ts";
import { isEmpty, type LeaseEvent, LeaseSet, type LeaseSetChange } from "./lease_set.ts";

function lease(subnet: string, publicIP = "192.0.2.1", revision = "1"): Lease {
  return { subnet: net(subnet), attributes: vxlan(publicIP), ttl: 86400, revision };
}

const NOTHING: LeaseSetChange = { added: [], removed: [], changed: [] };
const A = lease("10.20.1.0/24");
const B = lease("10.20.2.0/24", "192.0.2.2");

Deno.test("LeaseSet holds one lease a subnet, of several the last", () => {
  const later = lease("10.20.1.0/24", "192.0.2.9");
  const set = new LeaseSet([A, B, later]);
  assertEquals(set.size, 2);
  assertStrictEquals(set.get(A.subnet), later);
  // The same address with another length is another subnet.
  assertEquals(set.get(net("10.20.1.0/25")), undefined);
  assertEquals(new Set(set.values()), new Set([later, B]));
});

Deno.test("LeaseSet.apply() returns added, removed and changed", () => {
  const set = new LeaseSet([A]);
  assertEquals(set.apply([{ put: B }]), { ...NOTHING, added: [B] });
  const moved = lease("10.20.1.0/24", "192.0.2.9", "2");
  assertEquals(set.apply([{ put: moved }]), {
    ...NOTHING,
    changed: [{ before: A, after: moved }],
  });
  assertEquals(set.apply([{ remove: A.subnet }]), { ...NOTHING, removed: [moved] });
  assertEquals([...set.values()], [B]);
});

Deno.test("LeaseSet.apply() keeps a renewal without calling it a change", () => {
  const set = new LeaseSet([A]);
  const renewed = { ...A, revision: "2", ttl: 80000 };
  const change = set.apply([{ put: renewed }]);
  assert(isEmpty(change));
  assertStrictEquals(set.get(A.subnet), renewed);
});

Deno.test("LeaseSet.apply() leaves no trace of events that cancel out", () => {
  const set = new LeaseSet([A]);
  const moved = lease("10.20.1.0/24", "192.0.2.9", "2");
  assertEquals(set.apply([{ put: B }, { remove: B.subnet }]), NOTHING);
  assertEquals(set.apply([{ remove: A.subnet }, { put: A }]), NOTHING);
  assertEquals(set.apply([{ put: moved }, { put: A }]), NOTHING);
  // A removal of what was not there, as 0.7.1's "was not found".
  assertEquals(set.apply([{ remove: net("10.20.9.0/24") }]), NOTHING);
  assertEquals(set.apply([{ remove: A.subnet }, { put: moved }]), {
    ...NOTHING,
    changed: [{ before: A, after: moved }],
  });
});

Deno.test("LeaseSet.replace() counts a changed attribute as a change", () => {
  const set = new LeaseSet([A, B]);
  const moved = lease("10.20.1.0/24", "192.0.2.9", "7");
  const c = lease("10.20.3.0/24", "192.0.2.3");
  assertEquals(set.replace([moved, c]), {
    added: [c],
    removed: [B],
    changed: [{ before: A, after: moved }],
  });
  assertEquals(set.replace([c, moved]), NOTHING);
  assertEquals(set.replace([]), { ...NOTHING, removed: [c, moved] });
  assertEquals(set.size, 0);
});

Deno.test("isEmpty() is true of no change at all", () => {
  assert(isEmpty(NOTHING));
  assert(!isEmpty({ ...NOTHING, added: [A] }));
  assert(!isEmpty({ ...NOTHING, removed: [A] }));
  assert(!isEmpty({ ...NOTHING, changed: [{ before: A, after: B }] }));
});

/** Few subnets, owners and revisions, so that they meet. */
const anyLease: fc.Arbitrary<Lease> = fc.record({
  subnet: fc.constantFrom("10.20.1.0/24", "10.20.2.0/24", "10.20.2.0/25", "0.0.0.0/0").map(net),
  attributes: fc.constantFrom("192.0.2.1", "192.0.2.2").map((ip) => vxlan(ip)),
  revision: fc.nat(2).map(String),
});

const anyEvent: fc.Arbitrary<LeaseEvent> = fc.oneof(
  anyLease.map((put) => ({ put })),
  anyLease.map(({ subnet }) => ({ remove: subnet })),
);

/** Difference of two naive sets, each part by key. */
function difference(before: readonly Lease[], after: readonly Lease[]): unknown {
  const key = ({ subnet }: Lease) => leaseKey(subnet);
  const attributes = (lease: Lease) => JSON.stringify(lease.attributes);
  const find = (leases: readonly Lease[], lease: Lease) =>
    leases.find((other) => other.subnet.equals(lease.subnet));
  return {
    added: after.filter((lease) => !find(before, lease)).map(key).sort(),
    removed: before.filter((lease) => !find(after, lease)).map(key).sort(),
    changed: after.filter((lease) => {
      const was = find(before, lease);
      return was !== undefined && attributes(was) !== attributes(lease);
    }).map(key).sort(),
  };
}

function keys({ added, removed, changed }: LeaseSetChange): unknown {
  for (const { before, after } of changed) assert(before.subnet.equals(after.subnet));
  return {
    added: added.map(({ subnet }) => leaseKey(subnet)).sort(),
    removed: removed.map(({ subnet }) => leaseKey(subnet)).sort(),
    changed: changed.map(({ after }) => leaseKey(after.subnet)).sort(),
  };
}

/** A list in place of a map: the later of two leases of one subnet pushes the earlier out. */
class NaiveSet {
  leases: Lease[] = [];

  put(lease: Lease): void {
    this.remove(lease.subnet);
    this.leases.push(lease);
  }

  remove(subnet: Prefix): void {
    this.leases = this.leases.filter((lease) => !lease.subnet.equals(subnet));
  }
}

const byKey = (leases: Iterable<Lease>) =>
  [...leases].sort((a, b) => leaseKey(a.subnet) < leaseKey(b.subnet) ? -1 : 1);

Deno.test("LeaseSet does what a list with linear search does", () => {
  const step = fc.oneof(
    fc.record({ events: fc.array(anyEvent, { maxLength: 6 }) }),
    fc.record({ snapshot: fc.array(anyLease, { maxLength: 6 }) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
    const set = new LeaseSet();
    const naive = new NaiveSet();
    for (const step of steps) {
      const before = naive.leases;
      let change: LeaseSetChange;
      if ("events" in step) {
        change = set.apply(step.events);
        for (const event of step.events) {
          if ("put" in event) naive.put(event.put);
          else naive.remove(event.remove);
        }
      } else {
        change = set.replace(step.snapshot);
        naive.leases = [];
        for (const lease of step.snapshot) naive.put(lease);
      }
      assertEquals(keys(change), difference(before, naive.leases));
      assertEquals(byKey(set.values()), byKey(naive.leases));
      assertEquals(set.size, naive.leases.length);
      for (const lease of naive.leases) assertEquals(set.get(lease.subnet), lease);
    }
  }));
});
