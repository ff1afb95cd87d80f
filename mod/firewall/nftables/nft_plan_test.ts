import { assertEquals } from "@std/assert";
import { Prefix } from "../../ip/mod.ts";
import type { NftTable } from "./nft_format.ts";
import { desiredNftChains, planNft } from "./nft_plan.ts";
import type { FirewallSpec } from "../firewall_spec.ts";

const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ipMasq: true,
  forward: true,
  randomFully: true,
};

/** The table as it is when the chains are in place. */
function inPlace(spec: FirewallSpec = SPEC, changes: Partial<NftTable> = {}): NftTable {
  return { flags: [], hasOther: false, chains: desiredNftChains(spec), ...changes };
}

Deno.test("desiredNftChains() are newer flannel's, but for the mark and the fourth rule", () => {
  assertEquals(desiredNftChains(SPEC), [
    {
      name: "postrtg",
      ...{ type: "nat", hook: "postrouting", priority: 100, policy: "accept" },
      rules: [
        "meta mark & 0x4000 == 0x4000 return",
        "ip saddr 10.20.93.0/24 ip daddr 10.20.0.0/16 return",
        "ip saddr 10.20.0.0/16 ip daddr 10.20.93.0/24 return",
        "ip saddr != 10.20.0.0/16 ip daddr 10.20.93.0/24 return",
        "ip saddr 10.20.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.20.0.0/16 ip daddr 10.20.0.0/16 masquerade fully-random",
      ],
    },
    {
      name: "forward",
      ...{ type: "filter", hook: "forward", priority: 0, policy: "accept" },
      rules: ["ip saddr 10.20.0.0/16 accept", "ip daddr 10.20.0.0/16 accept"],
    },
  ]);
});

Deno.test("planNft() is empty when the table is as wanted, or not wanted and not there", () => {
  assertEquals(planNft(inPlace(), desiredNftChains(SPEC)), undefined);
  assertEquals(planNft(undefined, []), undefined);
});

Deno.test("planNft() makes the table in one transaction that deletes nothing", () => {
  const spec = { ...SPEC, ipMasq: false };
  assertEquals(planNft(undefined, desiredNftChains(spec)), {
    text: `add table ip flannel-ipv4
add chain ip flannel-ipv4 forward { type filter hook forward priority 0; policy accept; }
add rule ip flannel-ipv4 forward ip saddr 10.20.0.0/16 accept
add rule ip flannel-ipv4 forward ip daddr 10.20.0.0/16 accept
`,
    changes: [
      { sign: "+", rule: "table ip flannel-ipv4" },
      {
        sign: "+",
        rule: "ip flannel-ipv4 forward { type filter hook forward priority 0; policy accept; }",
      },
      { sign: "+", rule: "ip flannel-ipv4 forward ip saddr 10.20.0.0/16 accept" },
      { sign: "+", rule: "ip flannel-ipv4 forward ip daddr 10.20.0.0/16 accept" },
    ],
  });
});

Deno.test("planNft() replaces a table that differs, and names only what differs", () => {
  const desired = desiredNftChains(SPEC);
  const [postrtg, forward] = desired;
  const altered = {
    ...forward!,
    rules: [...forward!.rules.slice(0, 1), "ip daddr 1.2.3.4/32 accept"],
  };
  const plan = planNft(inPlace(SPEC, { chains: [postrtg!, altered] }), desired)!;
  assertEquals(plan.text.split("\n").slice(0, 3), [
    "add table ip flannel-ipv4",
    "delete table ip flannel-ipv4",
    "add table ip flannel-ipv4",
  ]);
  assertEquals(plan.changes, [
    { sign: "-", rule: "ip flannel-ipv4 forward ip daddr 1.2.3.4/32 accept" },
    { sign: "+", rule: "ip flannel-ipv4 forward ip daddr 10.20.0.0/16 accept" },
  ]);
});

Deno.test("planNft() sees whatever is not as wanted", () => {
  const desired = desiredNftChains(SPEC);
  const [postrtg, forward] = desired;
  const damaged: readonly (readonly [Partial<NftTable>, string])[] = [
    [{ flags: ["dormant"] }, "- ip flannel-ipv4 flag dormant"],
    [{ hasOther: true }, "- ip flannel-ipv4 sets, maps and objects of others"],
    [{ chains: [...desired, { name: "extra", rules: [] }] }, "- ip flannel-ipv4 extra {}"],
    [
      { chains: [postrtg!, { ...forward!, policy: "drop" }] },
      "- ip flannel-ipv4 forward { type filter hook forward priority 0; policy drop; }",
    ],
    [
      { chains: [postrtg!, { ...forward!, rules: forward!.rules.toReversed() }] },
      "- ip flannel-ipv4 forward { type filter hook forward priority 0; policy accept; }",
    ],
  ];
  for (const [changes, line] of damaged) {
    const [first] = planNft(inPlace(SPEC, changes), desired)!.changes;
    assertEquals(`${first!.sign} ${first!.rule}`, line);
  }
});

Deno.test("planNft() removes the table, and newer flannel's IPv6 table", () => {
  assertEquals(
    planNft(inPlace(), [], true)!.text,
    `delete table ip6 flannel-ipv6
add table ip flannel-ipv4
delete table ip flannel-ipv4
`,
  );
  assertEquals(
    planNft(inPlace(), desiredNftChains(SPEC), true)!.text,
    "delete table ip6 flannel-ipv6\n",
  );
});
