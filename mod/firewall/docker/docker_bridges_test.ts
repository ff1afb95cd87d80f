import { assertEquals } from "@std/assert";
import { Prefix } from "../../ip/mod.ts";
import { dockerSets, planDockerBridges } from "./docker_bridges.ts";
import type { NftForeignRule, NftForeignTable } from "../nftables/nft_format.ts";
import type { FirewallSpec } from "../firewall_spec.ts";

const SPEC: FirewallSpec = {
  network: Prefix.parse("10.20.0.0/16")!,
  subnet: Prefix.parse("10.20.93.0/24")!,
  ...{ ipMasq: false, forward: true, randomFully: true },
  ingress: { device: "flannel.1" },
};

const ACCEPT = 'iifname "flannel.1" ip saddr 10.20.0.0/16 ip daddr 10.20.93.0/24 accept';
const CHAINS = ["raw-PREROUTING", "filter-FORWARD"];

/** The table with these rules in both chains. */
function table(
  rules: readonly Omit<NftForeignRule, "chain" | "handle">[],
  rest: Partial<NftForeignTable> = {},
): NftForeignTable {
  return {
    chains: [...CHAINS, "nat-PREROUTING"],
    sets: [],
    rules: CHAINS.flatMap((chain, c) =>
      rules.map((rule, i) => ({ ...rule, chain, handle: 10 * c + i }))
    ),
    ...rest,
  };
}

const OWN = { comment: "flanneld overlay", text: ACCEPT };
const GREEN = { comment: "flanneld overlay green", text: "accept" };
const DROP = { comment: "DROP DIRECT ACCESS", text: "[]" };

const INSERTS = CHAINS.map((chain) =>
  `insert rule ip docker-bridges ${chain} ${ACCEPT} comment "flanneld overlay"`
);
const deletes = (handles: readonly number[]) =>
  CHAINS.flatMap((chain, c) =>
    handles.map((i) => `delete rule ip docker-bridges ${chain} handle ${10 * c + i}`)
  );

const lines = (state: NftForeignTable, spec = SPEC) =>
  (planDockerBridges(state, spec)?.text ?? "").split("\n").filter((line) => line !== "").sort();

Deno.test("planDockerBridges() puts the accepts before Docker's rules", () => {
  assertEquals(lines(table([])), INSERTS.toSorted());
  assertEquals(lines(table([DROP])), INSERTS.toSorted());
  assertEquals(lines(table([OWN, DROP])), []);
  assertEquals(lines(table([GREEN, OWN, DROP])), [], "after another network's");
  assertEquals(lines(table([DROP, OWN])), [...deletes([1]), ...INSERTS].sort());
  assertEquals(lines(table([OWN, OWN, DROP])), [...deletes([0, 1]), ...INSERTS].sort());
  const altered = { ...OWN, text: "accept" };
  assertEquals(lines(table([altered, DROP])), [...deletes([0]), ...INSERTS].sort());
});

Deno.test("planDockerBridges() leaves chains that a Docker does not have", () => {
  assertEquals(lines(table([], { chains: ["raw-PREROUTING"] })), [INSERTS[0]!]);
  assertEquals(lines(table([], { chains: [] })), []);
});

Deno.test("planDockerBridges() removes its own alone", () => {
  const nothing = { ...SPEC, ingress: undefined };
  assertEquals(lines(table([GREEN, DROP]), nothing), []);
  assertEquals(lines(table([OWN, GREEN, DROP]), nothing), deletes([0]).sort());
  const { leases, hosts } = dockerSets(undefined);
  assertEquals(
    planDockerBridges(table([], { sets: [leases, hosts, "others"] }), nothing)!.text,
    [
      `delete set ip docker-bridges ${leases}\n`,
      `delete set ip docker-bridges ${hosts}\n`,
    ].join(""),
  );
});

Deno.test("planDockerBridges() makes the sets before the rules that refer to them", () => {
  const spec = { ...SPEC, tag: "blue", ingress: { underlay: "eth1" } };
  const plan = planDockerBridges(table([], { chains: ["filter-FORWARD"] }), spec)!;
  const rule = (set: string) => `iifname "eth1" ip saddr @${set} ip daddr 10.20.93.0/24 accept`;
  const insert = (set: string) =>
    `insert rule ip docker-bridges filter-FORWARD ${rule(set)} comment "flanneld overlay blue"`;
  assertEquals(plan.text.trim().split("\n"), [
    "add set ip docker-bridges flannel-leases-blue { type ipv4_addr; flags interval; }",
    "add set ip docker-bridges flannel-hosts-blue { type ipv4_addr; }",
    insert("flannel-hosts-blue"),
    insert("flannel-leases-blue"),
  ]);
  const sets = Object.values(dockerSets("blue"));
  const own = sets.map((set) => ({ comment: "flanneld overlay blue", text: rule(set) }));
  assertEquals(planDockerBridges(table([...own, DROP], { sets }), spec), undefined);
});
