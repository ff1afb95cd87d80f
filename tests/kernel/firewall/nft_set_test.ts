import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../../mod/ip/mod.ts";
import { libc, type NftSetName, NftSets, SysError } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const LEASES: NftSetName = { table: "t", set: "leases", isInterval: true };
const HOSTS: NftSetName = { table: "t", set: "hosts", isInterval: false };

async function withSets(): Promise<NetworkNamespace> {
  const namespace = await NetworkNamespace.create();
  await namespace.exec("nft", "add table ip t");
  await namespace.exec("nft", "add set ip t leases { type ipv4_addr; flags interval; }");
  await namespace.exec("nft", "add set ip t hosts { type ipv4_addr; }");
  return namespace;
}

const prefix = (text: string) => Prefix.parse(text)!;
const sorted = (elements: readonly Prefix[]) => elements.map(String).sort();

Deno.test("NftSets changes elements that nft reads", async () => {
  await using namespace = await withSets();
  using sets = new NftSets({ netns: namespace.path });
  assertEquals([sets.hasTable("t"), sets.hasTable("u")], [true, false]);
  // The first two meet.
  const leases = ["10.20.7.0/24", "10.20.8.0/24", "10.20.12.0/22"].map(prefix);
  sets.add(LEASES, leases);
  sets.add(LEASES, leases);
  sets.add(HOSTS, [prefix("172.28.128.101/32")]);
  const listed = await namespace.exec("nft", "list table ip t");
  for (const text of ["10.20.7.0/24", "10.20.8.0/24", "10.20.12.0/22", "172.28.128.101"]) {
    assert(listed.includes(text), listed);
  }
  assertEquals(sorted(sets.elements(LEASES)), sorted(leases));
  assertEquals(sorted(sets.elements(HOSTS)), ["172.28.128.101/32"]);
  sets.delete(LEASES, [leases[0]!]);
  assertEquals(sorted(sets.elements(LEASES)), sorted(leases.slice(1)));
  assertThrows(() => sets.delete(LEASES, [leases[0]!]), SysError, "ENOENT");
  assertThrows(() => sets.add(LEASES, [prefix("10.20.8.0/25")]), SysError, "NFT_MSG_NEWSETELEM");
  assertEquals(sorted(sets.elements(LEASES)), sorted(leases.slice(1)));
  assertEquals(sets.elements({ ...LEASES, set: "none" }), []);
  assertThrows(() => sets.add({ ...LEASES, set: "none" }, leases), SysError, "ENOENT");
});

Deno.test("NftSets reads back what it was given, whatever was there before", async () => {
  await using namespace = await withSets();
  using sets = new NftSets({ netns: namespace.path });
  // Prefixes of one length either are one or do not meet.
  const some = fc.uniqueArray(fc.nat({ max: 40 }), { maxLength: 40 })
    .map((list) => list.map((n) => new Prefix(0x0a140000 + n * 256, 24)));
  let before: Prefix[] = [];
  fc.assert(
    fc.property(some, (after) => {
      const keys = (list: readonly Prefix[]) => new Set(list.map(({ key }) => key));
      const [was, is] = [keys(before), keys(after)];
      sets.delete(LEASES, before.filter(({ key }) => !is.has(key)));
      sets.add(LEASES, after.filter(({ key }) => !was.has(key)));
      before = after;
      assertEquals(sorted(sets.elements(LEASES)), sorted(after));
    }),
    { numRuns: 100 },
  );
});

Deno.test("NftSets holds the peers of 60,000 hosts", async () => {
  await using namespace = await withSets();
  using sets = new NftSets({ netns: namespace.path });
  const leases = Array.from({ length: 60_000 }, (_, i) => new Prefix(0x0a000000 + i * 64, 26));
  sets.add(LEASES, leases);
  assertEquals(sets.elements(LEASES).length, leases.length);
  sets.delete(LEASES, [leases[7]!]);
  const left = new Set(sets.elements(LEASES).map(({ key }) => key));
  assertEquals(left, new Set(leases.filter((_, i) => i !== 7).map(({ key }) => key)));
});
