import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../../mod/ip/mod.ts";
import { IpSets, libc, SysError } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const NAME = "flannel-peers-blue";
const prefix = (text: string) => Prefix.parse(text)!;
const sorted = (elements: readonly Prefix[]) => elements.map(String).sort();

Deno.test("IpSets makes, reads and removes a set", async () => {
  await using namespace = await NetworkNamespace.create();
  using sets = new IpSets({ netns: namespace.path });
  assertEquals(sets.header(NAME), undefined);
  assertEquals(sets.elements(NAME), []);
  sets.create(NAME, 262_144);
  assertThrows(() => sets.create(NAME, 262_144), SysError, "EEXIST");
  const empty = { type: "hash:net", family: 2, maxElements: 262_144, elements: 0 };
  assertEquals(sets.header(NAME), empty);

  const elements = ["10.20.7.0/24", "172.28.128.101/32"].map(prefix);
  sets.add(NAME, elements);
  sets.add(NAME, elements);
  assertEquals(sets.header(NAME), { ...empty, elements: 2 });
  assertEquals(sorted(sets.elements(NAME)), sorted(elements));
  sets.delete(NAME, [elements[0]!, prefix("192.0.2.1/32")]);
  assertEquals(sets.elements(NAME), [elements[1]!]);

  // Another namespace has other sets.
  await using elsewhere = await NetworkNamespace.create();
  using others = new IpSets({ netns: elsewhere.path });
  assertEquals(others.header(NAME), undefined);

  await namespace.exec(
    ...["iptables-legacy", "-A", "INPUT", "-m", "set", "--match-set", NAME, "src", "-j", "ACCEPT"],
  );
  assertThrows(() => sets.destroy(NAME), SysError, "E4100");
  await namespace.exec("iptables-legacy", "-F", "INPUT");
  assertEquals(sets.destroy(NAME), true);
  assertEquals(sets.destroy(NAME), false);
  assertThrows(() => sets.add(NAME, elements), SysError, "ENOENT");
});

Deno.test("IpSets holds the peers of 60,000 hosts, and changes one of them at once", async () => {
  await using namespace = await NetworkNamespace.create();
  using sets = new IpSets({ netns: namespace.path });
  sets.create(NAME, 262_144);
  const elements = Array.from({ length: 60_000 }, (_, i) => [
    new Prefix(0x0a000000 + i * 64, 26),
    new Prefix(0xac100000 + i, 32),
  ]).flat();
  sets.add(NAME, elements);
  assertEquals(sets.header(NAME)!.elements, elements.length);
  sets.delete(NAME, elements.slice(0, 2));
  assertEquals(sets.header(NAME)!.elements, elements.length - 2);
  const left = new Set(sets.elements(NAME).map(({ key }) => key));
  assertEquals(left, new Set(elements.slice(2).map(({ key }) => key)));
});

Deno.test("IpSets reads back whatever prefixes it was given", async () => {
  await using namespace = await NetworkNamespace.create();
  using sets = new IpSets({ netns: namespace.path });
  const anyPrefix = fc.record({
    address: fc.nat({ max: 0xffffffff }),
    // A hash:net holds no element of length 0.
    length: fc.integer({ min: 1, max: 32 }),
  }).map(({ address, length }) => new Prefix(address, length));
  fc.assert(
    fc.property(fc.array(anyPrefix, { maxLength: 50 }), (elements) => {
      sets.create(NAME, 1024);
      try {
        sets.add(NAME, elements);
        assertEquals(sorted(sets.elements(NAME)), [...new Set(sorted(elements))]);
      } finally {
        sets.destroy(NAME);
      }
    }),
    { numRuns: 50 },
  );
});
