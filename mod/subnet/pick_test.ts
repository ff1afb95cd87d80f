import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatIPv4, type IPv4, Prefix } from "../ip/mod.ts";
import { ip, net } from "../store/testing/store_lab.ts";
import { fastest } from "../sys/testing/fastest.ts";
import { isCompatible, pickSubnet, type SubnetRange } from "./pick.ts";

function range(subnetMin: string, subnetMax: string, subnetLen: number): SubnetRange {
  return { subnetMin: ip(subnetMin), subnetMax: ip(subnetMax), subnetLen };
}

const GUIDE = range("10.20.1.0", "10.20.255.0", 24);

/** Free subnets by trying each one against each lease: what flannel does. */
function freeSubnets({ subnetMin, subnetMax, subnetLen }: SubnetRange, leased: Prefix[]): IPv4[] {
  const free: IPv4[] = [];
  for (let at = subnetMin; at <= subnetMax; at += 2 ** (32 - subnetLen)) {
    const subnet = new Prefix(at, subnetLen);
    if (!leased.some((lease) => lease.overlaps(subnet))) free.push(at);
  }
  return free.slice(0, 100);
}

/** Every subnet that some random number leads to. */
function choices(range: SubnetRange, leased: Prefix[]): IPv4[] {
  const found = new Set<IPv4>();
  for (let i = 0; i < 100; i++) {
    const picked = pickSubnet(range, leased, () => (i + 0.5) / 100);
    if (picked === undefined) return [];
    assertEquals(picked.length, range.subnetLen);
    found.add(picked.address);
  }
  return [...found];
}

Deno.test("pickSubnet() chooses among the first hundred free, the first subnet skipped", () => {
  assertEquals(choices(GUIDE, []).map(formatIPv4), [
    ...Array.from({ length: 100 }, (_, i) => `10.20.${i + 1}.0`),
  ]);
  assertEquals(String(pickSubnet(GUIDE, [], () => 0)), "10.20.1.0/24");
  assertEquals(String(pickSubnet(GUIDE, [], () => 1 - 2 ** -53)), "10.20.100.0/24");
});

Deno.test("pickSubnet() chooses among as many as given", () => {
  assertEquals(String(pickSubnet(GUIDE, [], () => 1 - 2 ** -53, 3)), "10.20.3.0/24");
  assertEquals(String(pickSubnet(GUIDE, [], () => 1 - 2 ** -53, 1_600)), "10.20.255.0/24");
});

Deno.test("pickSubnet() takes both ends of the range in", () => {
  const three = range("10.3.5.0", "10.3.5.32", 28);
  assertEquals(choices(three, []).map(formatIPv4), ["10.3.5.0", "10.3.5.16", "10.3.5.32"]);
  // flannel's own example, in steps of 4096.
  const example = range("10.10.0.0", "10.99.0.0", 20);
  assertEquals(choices(example, []).slice(0, 3).map(formatIPv4), [
    "10.10.0.0",
    "10.10.16.0",
    "10.10.32.0",
  ]);
});

Deno.test("pickSubnet() works up to the last address there is", () => {
  assertEquals(choices(range("255.255.255.0", "255.255.255.0", 24), []).map(formatIPv4), [
    "255.255.255.0",
  ]);
  assertEquals(choices(range("0.0.0.0", "192.0.0.0", 2), [net("64.0.0.0/2")]).length, 3);
});

Deno.test("pickSubnet() skips what overlaps a lease of whatever length", () => {
  const few = range("10.20.1.0", "10.20.8.0", 24);
  const leased = ["10.20.1.128/25", "10.20.2.0/23", "10.20.4.77/32", "10.20.6.0/24", "10.9.0.0/16"];
  assertEquals(choices(few, leased.map(net)).map(formatIPv4), [
    "10.20.5.0",
    "10.20.7.0",
    "10.20.8.0",
  ]);
  // A short one covers the long ones sorted after it, and what follows those.
  assertEquals(choices(few, [net("10.20.0.0/21"), net("10.20.1.0/24")]).map(formatIPv4), [
    "10.20.8.0",
  ]);
});

Deno.test("pickSubnet() returns undefined when nothing is free", () => {
  assertEquals(pickSubnet(range("10.20.1.0", "10.20.1.0", 24), [net("10.20.1.0/24")]), undefined);
  assertEquals(pickSubnet(GUIDE, [net("10.0.0.0/8")]), undefined);
  assertEquals(pickSubnet(GUIDE, [net("0.0.0.0/0")]), undefined);
  assertEquals(pickSubnet(range("10.20.9.0", "10.20.1.0", 24), []), undefined);
});

Deno.test("pickSubnet() leaves what it is given alone", () => {
  const leased = Object.freeze([net("10.20.9.0/24"), net("10.20.1.0/24")]);
  pickSubnet(GUIDE, leased);
  assertEquals(leased.map(String), ["10.20.9.0/24", "10.20.1.0/24"]);
});

/** A range within 10.20.0.0/20, and leases in and around it. */
const anyCase = fc.tuple(
  fc.integer({ min: 22, max: 30 }),
  fc.nat(),
  fc.nat(300),
  fc.array(fc.tuple(fc.nat(0x1fff), fc.integer({ min: 19, max: 32 })), { maxLength: 60 }),
).map(([subnetLen, first, steps, leases]): [SubnetRange, Prefix[]] => {
  const size = 2 ** (32 - subnetLen);
  const count = 4096 / size;
  const subnetMin = ip("10.20.0.0") + (first % count) * size;
  const subnetMax = Math.min(subnetMin + steps * size, ip("10.20.16.0") - size);
  // Lengths near the range's own, or one lease would often take all.
  const leased = leases.map(([offset, length]) =>
    new Prefix(ip("10.20.0.0") - 2048 + offset, Math.max(length, subnetLen - 2))
  );
  return [{ subnetLen, subnetMin, subnetMax }, leased];
});

Deno.test("pickSubnet() can choose what a walk over all leases finds free, and nothing else", () => {
  fc.assert(fc.property(anyCase, ([range, leased]) => {
    assertEquals(choices(range, leased), freeSubnets(range, leased));
  }));
});

Deno.test("pickSubnet() keeps on choosing without an overlap until the walk finds nothing", () => {
  fc.assert(
    fc.property(anyCase, ([range, leased]) => {
      const held = [...leased];
      for (;;) {
        const picked = pickSubnet(range, held);
        if (picked === undefined) break;
        assert(!held.some((lease) => lease.overlaps(picked)));
        assert(isCompatible(range, picked));
        held.push(picked);
        if (held.length > leased.length + 150) return;
      }
      assertEquals(freeSubnets(range, held), []);
    }),
    { numRuns: 30 },
  );
});

Deno.test("pickSubnet() chooses evenly", () => {
  const counts = new Map<IPv4, number>();
  const leased = Array.from({ length: 20 }, (_, i) => net(`10.20.${i * 3}.0/24`));
  for (let i = 0; i < 20_000; i++) {
    const { address } = pickSubnet(GUIDE, leased)!;
    counts.set(address, (counts.get(address) ?? 0) + 1);
  }
  assertEquals(counts.size, 100);
  // 200 each on average with a deviation of 14: seven deviations fail once in 10^9 runs.
  for (const [address, count] of counts) {
    assert(Math.abs(count - 200) < 100, `${formatIPv4(address)}: ${count}`);
  }
});

Deno.test("isCompatible() asks for the length and for both ends, inclusive", () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ["10.20.1.0/24", true],
    ["10.20.255.0/24", true],
    ["10.20.93.0/24", true],
    ["10.20.0.0/24", false],
    ["10.21.0.0/24", false],
    ["10.19.255.0/24", false],
    ["10.20.93.0/25", false],
    ["10.20.92.0/23", false],
  ];
  for (const [subnet, fits] of cases) assertEquals(isCompatible(GUIDE, net(subnet)), fits, subnet);
});

Deno.test("pickSubnet() passes over a lease of any size in one step", () => {
  const wide = range("64.0.0.0", "127.255.255.192", 26);
  assertEquals(String(pickSubnet(wide, [net("64.0.0.0/3")], () => 0)), "96.0.0.0/26");
  const time = (lease: string) =>
    fastest(5, () => {
      for (let i = 0; i < 100; i++) pickSubnet(wide, [net(lease)], () => 0);
    });
  time("64.0.0.0/26");
  // 2^23 subnets, and one.
  const [all, one] = [time("64.0.0.0/3"), time("64.0.0.0/26")];
  assert(all < 50 * Math.max(one, 1), `${all} ms, ${one} ms`);
});
