import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { incomingFlow, outgoingFlow, tunnelFlow } from "../../../mod/doctor/trace/flows.ts";
import { judge, type Verdict } from "../../../mod/doctor/trace/judge.ts";
import { RuleNames } from "../../../mod/doctor/trace/rule_names.ts";
import { PacketTracer } from "../../../mod/doctor/trace/tracer.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { libc, Netlink } from "../../../mod/sys/mod.ts";
import { isOlderKernel } from "../older_kernel.ts";
import { CASES, type TraceCase } from "./trace_cases.ts";
import { ADDRESS, TraceLab } from "./trace_lab.ts";

const RULESETS = new URL("rulesets", import.meta.url).pathname;
/** Rules that may stand one behind the other until a packet gets through. */
const MOST_FIXES = 4;

libc();

async function ask(lab: TraceLab, { flow: name = "in", port }: TraceCase): Promise<Verdict> {
  const { netns, commands } = lab;
  using netlink = Netlink.open({ netns });
  const path = lab.path(netlink);
  const kind = port === undefined ? { protocol: "icmp", port: 0 } as const : {
    ...{ protocol: "tcp", port } as const,
  };
  const flow = name === "tunnel"
    ? tunnelFlow(path, netlink)!
    : name === "out"
    ? outgoingFlow(path, netlink, path.peer.address, kind)
    : incomingFlow(path, netlink, name === "own" ? parseIPv4(ADDRESS.host)! : path.container, kind);
  await using tracer = new PacketTracer({ netns, signal: AbortSignal.timeout(60_000) });
  const result = await tracer.trace(flow.request);
  return await judge(flow, result, { netlink, netns, names: new RuleNames(commands, netns) });
}

/** Sends a real packet and compares its fate with the verdict. */
async function compare(lab: TraceLab, one: TraceCase, { stop, result }: Verdict): Promise<void> {
  const from = one.flow === "out" ? "container" : "peer";
  const to = one.flow === "own" ? { to: ADDRESS.host } : {};
  const { arrived, answered, sources } = await lab.send(from, { ...to, port: one.port });
  const isAnswerLost = stop?.text.startsWith("the answer to it") ?? false;
  const said = stop?.text ?? "arrives";
  if (one.flow !== "own") assertEquals(arrived, stop === undefined || isAnswerLost, said);
  // A connection is answered by nobody here; a container's packets come back by another flow.
  if (one.port === undefined && from === "peer") assertEquals(answered, stop === undefined, said);
  if (arrived && result.fate?.type === "passed" && one.flow !== "tunnel") {
    const { source } = result.fate;
    assertEquals(sources.map((text) => parseIPv4(text)), [source]);
  }
}

for (const one of CASES) {
  Deno.test(`PacketTracer and judge() find the packet's fate: ${one.what}`, async () => {
    await using lab = await TraceLab.make();
    await lab.sabotage(one.script.replaceAll("RULESETS", RULESETS));
    const before = await rulesOf(lab);
    const verdict = await ask(lab, one);
    const outcome = verdict.stop?.text ?? "arrives";
    if (one.stop === undefined) assertEquals(outcome, "arrives");
    else assertMatch(outcome, one.stop);
    if (one.note !== undefined) {
      assert(verdict.notes.some((note) => one.note!.test(note)), verdict.notes.join("\n"));
    } else assertEquals(verdict.notes, []);
    if (one.fix !== undefined) assertMatch(verdict.stop?.fix[0] ?? "", one.fix);
    assertEquals(await rulesOf(lab), before);
    if (!one.isLost) await compare(lab, one, verdict);
    if (one.stop === undefined || one.isFixable === false) return;

    // The change lets it through; where one rule stands behind another, one change after the other.
    let now = verdict;
    for (let i = 0; i < MOST_FIXES && now.stop !== undefined; i++) {
      await lab.sabotage(now.stop.fix.join("\n"));
      now = await ask(lab, one);
    }
    assertEquals(now.stop?.text, undefined);
    await compare(lab, one, now);
  });
}

/** All rules without their counters, and netfilter's IPv4 logger. */
async function rulesOf(lab: TraceLab): Promise<string> {
  const rules = await lab.host.run(
    "sh",
    "-c",
    "nft -s list ruleset; for t in $(cat /proc/net/ip_tables_names); do iptables-legacy-save -t $t | sed 's/\\[.*//; s/^#.*//'; done; cat /proc/sys/net/netfilter/nf_log/2",
  );
  return rules.replaceAll(/counter packets \d+ bytes \d+/g, "counter");
}

Deno.test("PacketTracer removes what was left on a kernel whose tables have no owners", async () => {
  await using lab = await TraceLab.make();
  // No process has a number above PID_MAX_LIMIT of linux/threads.h.
  const stale = ["ip", "bridge", "netdev"].map((family) => `${family} flanneld-trace-4194305`);
  const alive = `ip flanneld-trace-${Deno.ppid}`;
  for (const table of [...stale, alive]) await lab.sabotage(`nft add table ${table}`);
  const signal = AbortSignal.timeout(60_000);
  await using _tracer = new PacketTracer({ netns: lab.netns, signal });
  assertEquals(await lab.host.run("nft", "list", "tables"), `table ${alive}\n`);
});

const ENDLESS = new URL("trace_endless.ts", import.meta.url).pathname;

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  Deno.test(`PacketTracer leaves nothing behind when its process ends by ${signal}`, async () => {
    await using lab = await TraceLab.make();
    // With tables of iptables-legacy the logger is another one meanwhile.
    await lab.sabotage("iptables-legacy -A FORWARD -s 192.0.2.1 -j DROP");
    const before = await rulesOf(lab);
    await using child = new Deno.Command("nsenter", {
      args: [`--net=${lab.netns}`, Deno.execPath(), "run", "-A", "--no-check", ENDLESS],
      ...{ stdin: "null", stdout: "piped" },
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
    assertEquals((await lines.next()).value, "traced\n");
    assertNotEquals(await rulesOf(lab), before);
    child.kill(signal);
    await child.status;
    await lines.return?.();
    // Before Linux 5.12 the next run does it.
    if (isOlderKernel(5, 12)) {
      await using _next = new PacketTracer({
        netns: lab.netns,
        signal: AbortSignal.timeout(60_000),
      });
    }
    // The kernel removes owners' tables, and a shell restores the logger, in a moment.
    let now = await rulesOf(lab);
    for (let i = 0; i < 200 && now !== before; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      now = await rulesOf(lab);
    }
    assertEquals(now, before);
  });
}
