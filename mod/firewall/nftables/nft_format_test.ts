import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../ip/mod.ts";
import { FirewallError } from "../errors.ts";
import {
  formatNftRule,
  parseNftBaseChains,
  parseNftForeignTable,
  parseNftTable,
  parseNftTables,
} from "./nft_format.ts";
import type { AddressMatch, PacketRule } from "../policy.ts";

const META = { metainfo: { version: "1.1.3", json_schema_version: 1 } };
const CHAIN = { family: "ip", table: "t", name: "c", handle: 1 };

/** `nft -j list table` of one table with one chain. */
function table(expressions: readonly unknown[], chain: object = {}): string {
  const rules = expressions.map((expr, i) => ({
    rule: { family: "ip", table: "t", chain: "c", handle: i + 2, expr },
  }));
  return JSON.stringify({
    nftables: [
      META,
      { table: { family: "ip", name: "t", handle: 1 } },
      { chain: { ...CHAIN, ...chain } },
      ...rules,
    ],
  });
}

/** Returns the expressions that nft 1.1 prints for a rule of flanneld. */
function expressionsOf(rule: PacketRule): unknown[] {
  const { mark, input, source, sourceSet, destination, udpPort, verdict } = rule;
  const equals = (left: unknown, right: string | number) => ({ match: { op: "==", left, right } });
  const address = (field: string, match: AddressMatch | undefined) => {
    if (match === undefined) return [];
    const [addr, len] = match.prefix.split("/");
    return [{
      match: {
        op: match.outside ? "!=" : "==",
        left: { payload: { protocol: "ip", field } },
        right: len === "32" ? addr : { prefix: { addr, len: Number(len) } },
      },
    }];
  };
  const bits = { "&": [{ meta: { key: "mark" } }, mark] };
  const saddr = { payload: { protocol: "ip", field: "saddr" } };
  return [
    ...(mark === undefined ? [] : [{ match: { op: "==", left: bits, right: mark } }]),
    ...(input === undefined ? [] : [equals({ meta: { key: "iifname" } }, input)]),
    ...address("saddr", source),
    ...(sourceSet === undefined ? [] : [equals(saddr, `@${sourceSet}`)]),
    ...address("daddr", destination),
    ...(udpPort === undefined
      ? []
      : [equals({ payload: { protocol: "udp", field: "dport" } }, udpPort)]),
    ...(verdict === "drop" ? [{ counter: { packets: 3, bytes: 84 } }] : []),
    verdict === "masquerade at random"
      ? { masquerade: { flags: "fully-random" } }
      : { [verdict]: null },
  ];
}

Deno.test("formatNftRule() writes what parseNftTable() reads back, for every rule", () => {
  const match = fc.record(
    {
      prefix: fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 1, max: 32 }))
        .map(([address, length]) => new Prefix(address, length).toString()),
      outside: fc.constant(true as const),
    },
    { requiredKeys: ["prefix"] },
  );
  const rule = fc.record({
    mark: fc.integer({ min: 1, max: 0xffffffff }),
    input: fc.constantFrom("flannel.1", "eth1"),
    source: match,
    sourceSet: fc.constantFrom("flannel-hosts", "flannel-leases-blue"),
    destination: match,
    udpPort: fc.integer({ min: 1, max: 0xffff }),
    verdict: fc.constantFrom("return", "accept", "drop", "masquerade", "masquerade at random"),
  }, { requiredKeys: ["verdict"] }) as fc.Arbitrary<PacketRule>;
  fc.assert(fc.property(rule, (rule) => {
    const { chains } = parseNftTable(table([expressionsOf(rule)]));
    assertEquals(chains[0]!.rules, [formatNftRule(rule)]);
  }));
});

Deno.test("formatNftRule() uses nft's syntax", () => {
  assertEquals(
    formatNftRule({
      mark: 0x4000,
      source: { prefix: "10.20.0.0/16" },
      destination: { prefix: "224.0.0.0/4", outside: true },
      verdict: "masquerade at random",
    }),
    "meta mark & 0x4000 == 0x4000 ip saddr 10.20.0.0/16 ip daddr != 224.0.0.0/4 " +
      "masquerade fully-random",
  );
});

Deno.test("parseNftTable() does not mistake unknown expressions for a rule of flanneld", () => {
  const accept = { accept: null };
  const source = expressionsOf({ source: { prefix: "10.20.0.0/16" }, verdict: "accept" })[0];
  const strange: readonly unknown[][] = [
    [{ limit: { rate: 1, per: "second" } }, source, accept],
    [{ match: { op: "==", left: { payload: { protocol: "tcp", field: "dport" } }, right: 53 } }],
    [{ match: { op: "!=", left: { payload: { protocol: "udp", field: "dport" } }, right: 53 } }],
    [{ match: { op: "<", left: { payload: { protocol: "ip", field: "saddr" } }, right: "1" } }],
    [{ match: { op: "==", left: { payload: { protocol: "ip6", field: "saddr" } }, right: "::" } }],
    [{ match: { op: "==", left: { meta: { key: "mark" } }, right: 16384 } }, { return: null }],
    [{
      match: {
        op: "==",
        left: { payload: { protocol: "ip", field: "saddr" } },
        right: { set: [] },
      },
    }],
    [{ masquerade: { port: 1024 } }],
    [source, { jump: { target: "c" } }],
    [{}],
  ];
  for (const expression of strange) {
    const [rule] = parseNftTable(table([expression])).chains[0]!.rules;
    assertEquals(rule, JSON.stringify(expression));
  }
  const flags = [{ masquerade: { flags: ["fully-random", "persistent"] } }];
  assertEquals(parseNftTable(table([flags])).chains[0]!.rules, [
    "masquerade fully-random,persistent",
  ]);
});

Deno.test("parseNftTable() reads the hook of a chain", () => {
  const hook = { type: "nat", hook: "postrouting", prio: 100, policy: "accept" };
  assertEquals(parseNftTable(table([], hook)), {
    flags: [],
    hasOther: false,
    chains: [{
      name: "c",
      ...{ type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
      rules: [],
    }],
  });
  assertEquals(parseNftTable(table([])).chains, [{ name: "c", rules: [] }]);
});

Deno.test("parseNftTable() sees flags and what is no chain", () => {
  const text = (flags: unknown) =>
    JSON.stringify({
      nftables: [META, { table: { family: "ip", name: "t", flags } }, { set: { name: "s" } }],
    });
  assertEquals(parseNftTable(text("dormant")).flags, ["dormant"]);
  assertEquals(parseNftTable(text(["owner", "dormant"])).flags, ["owner", "dormant"]);
  assert(parseNftTable(text("dormant")).hasOther);
});

Deno.test("parseNftForeignTable() reads comments and handles of rules", () => {
  const expr = expressionsOf({ input: "flannel.1", verdict: "accept" });
  const rule = { family: "ip", table: "t", chain: "c" };
  const text = JSON.stringify({
    nftables: [
      META,
      { chain: CHAIN },
      { map: { name: "jumps" } },
      { set: { name: "flannel-hosts" } },
      { rule: { ...rule, handle: 7, comment: "flanneld overlay", expr } },
      { rule: { ...rule, handle: 8, expr: [{ drop: null }] } },
    ],
  });
  assertEquals(parseNftForeignTable(text), {
    chains: ["c"],
    sets: ["flannel-hosts"],
    rules: [
      { chain: "c", handle: 7, comment: "flanneld overlay", text: 'iifname "flannel.1" accept' },
      { chain: "c", handle: 8, comment: undefined, text: "drop" },
    ],
  });
});

Deno.test("parseNftBaseChains() leaves out the chains that hook in nowhere", () => {
  const text = JSON.stringify({
    nftables: [
      META,
      { chain: CHAIN },
      { chain: { ...CHAIN, name: "guard", type: "filter", hook: "forward", prio: 0 } },
    ],
  });
  assertEquals(parseNftBaseChains(text), [{
    ...{ family: "ip", table: "t", name: "guard" },
    // Old releases leave out the policy where it is the default.
    ...{ type: "filter", hook: "forward", priority: 0, policy: "accept" },
  }]);
});

Deno.test("parseNftTables() lists family and name, and nothing for nothing", () => {
  const text = JSON.stringify({ nftables: [META, { table: { family: "inet", name: "x" } }] });
  assertEquals(parseNftTables(text), ["inet x"]);
  assertEquals(parseNftTables(""), []);
});

Deno.test("parseNftTables() refuses what is not nft's JSON", () => {
  for (const text of ["table ip x", "{}", '{"nftables": 1}', "null"]) {
    assertThrows(() => parseNftTables(text), FirewallError, "nft -j answered");
  }
});

Deno.test("parseNftTable() tolerates output of another shape", () => {
  for (const odd of [null, "x", 7, [], { match: null }, { match: { left: { payload: null } } }]) {
    const { chains } = parseNftTable(table([[odd]]));
    assertEquals(chains[0]!.rules, [JSON.stringify([odd])]);
  }
  const name = { toString: 1 };
  const text = JSON.stringify({ nftables: [null, { chain: { name, hook: name, prio: name } }] });
  assertEquals(parseNftTable(text).chains[0]!.name, '{"toString":1}');
  assertEquals(parseNftBaseChains(text).length, 1);
});
