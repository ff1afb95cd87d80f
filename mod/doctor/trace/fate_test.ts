import { assertEquals } from "@std/assert";
import type { NftTraceEvent } from "../../sys/mod.ts";
import { bracketName, concludeFate, type Observed } from "./fate.ts";
import type { LegacyTraceEvent } from "./legacy_trace.ts";
import { writeProbe } from "./packet.ts";

const TABLE = "tracing";
const [SOURCE, DESTINATION, OTHER] = [1, 2, 3];

function headers(source = SOURCE): Uint8Array {
  return writeProbe({
    ...{ source, destination: DESTINATION, protocol: "icmp", port: 0, id: 4, sourcePort: 0 },
  });
}

const event = (more: Partial<NftTraceEvent>): NftTraceEvent => ({
  ...{ id: 9, family: "ip", table: "filter", chain: "FORWARD", type: "rule" },
  ...more,
});

/** Both events of a chain of the tracing table. */
function bracket(
  hook: Parameters<typeof bracketName>[0],
  side: "start" | "end",
  more: Partial<NftTraceEvent> = {},
): NftTraceEvent[] {
  const own = { table: TABLE, chain: bracketName(hook, side) };
  return [
    event({ ...own, verdict: "continue", network: headers(), ...more }),
    event({ ...own, type: "policy", verdict: "accept" }),
  ];
}

const through = (...hooks: Parameters<typeof bracketName>[0][]) =>
  hooks.flatMap((hook) => [...bracket(hook, "start"), ...bracket(hook, "end")]);

function conclude(nft: readonly NftTraceEvent[], more: Partial<Observed> = {}) {
  return concludeFate({ nft, legacy: [], drop: undefined, ...more }, TABLE);
}

Deno.test("concludeFate() names the rule that drops, and the chains that led there", () => {
  const fate = conclude([
    ...through("prerouting"),
    ...bracket("forward", "start"),
    event({ handle: 1n, verdict: "jump", target: "A", network: headers() }),
    event({ chain: "A", handle: 2n, verdict: "jump", target: "B" }),
    event({ chain: "B", type: "return", verdict: "continue" }),
    event({ chain: "A", handle: 3n, verdict: "drop" }),
  ]);
  assertEquals(fate, {
    ...{ type: "dropped", hook: "forward" },
    by: {
      ...{ ruleset: "nftables", family: "ip", table: "filter", chain: "A", handle: 3n },
      path: ["FORWARD", "A"],
    },
  });
});

Deno.test("concludeFate() takes the last rule of iptables-legacy where a hook has no end", () => {
  const legacy: LegacyTraceEvent[] = [
    { table: "raw", chain: "PREROUTING", type: "policy", number: 1 },
    { table: "filter", chain: "FORWARD", type: "rule", number: 1 },
    { table: "filter", chain: "A", type: "return", number: 2 },
    { table: "filter", chain: "FORWARD", type: "rule", number: 4 },
    { table: "filter", chain: "B", type: "rule", number: 2 },
  ];
  const fate = conclude([...through("prerouting"), ...bracket("forward", "start")], { legacy });
  assertEquals(fate, {
    ...{ type: "dropped", hook: "forward" },
    by: {
      ...{ ruleset: "iptables-legacy", family: "ip", table: "filter", chain: "B", number: 2 },
      path: ["FORWARD", "B"],
    },
  });
});

Deno.test("concludeFate() says that routing lost what passed prerouting and met no other hook", () => {
  const drop = { reason: "IP_RPFILTER" };
  assertEquals(conclude(through("prerouting"), { drop }), { type: "lost", at: "routing", drop });
  assertEquals(conclude(through("prerouting", "forward")), { type: "lost", at: "forward" });
  assertEquals(conclude([], { drop }), { type: "lost", at: "entry", drop });
  assertEquals(conclude([]), undefined);
});

Deno.test("concludeFate() names the rule that rewrote the source of what passed", () => {
  const fate = conclude([
    ...through("prerouting", "forward"),
    ...bracket("postrouting", "start", { oif: 7 }),
    event({
      table: "nat",
      chain: "POSTROUTING",
      handle: 5n,
      verdict: "accept",
      network: headers(),
    }),
    ...bracket("postrouting", "end", { network: headers(OTHER) }),
  ]);
  assertEquals(fate, {
    ...{ type: "passed", to: "postrouting", oif: 7, source: OTHER, destination: DESTINATION },
    rewrittenBy: {
      ...{ ruleset: "nftables", family: "ip", table: "nat", chain: "POSTROUTING", handle: 5n },
      path: ["POSTROUTING"],
    },
  });
});

Deno.test("concludeFate() takes a queue for the end only where nothing comes back from it", () => {
  const queued = [
    ...through("prerouting"),
    ...bracket("forward", "start"),
    event({ handle: 1n, verdict: "queue", network: headers() }),
  ];
  assertEquals(conclude(queued)?.type, "taken");
  assertEquals(
    conclude([...queued, ...bracket("forward", "end"), ...through("postrouting")])?.type,
    "passed",
  );
});
