import { assert, assertEquals } from "@std/assert";
import { libc, monitorRuleset } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

/** A command, and whether it changes rules of nf_tables. */
const COMMANDS: readonly (readonly [command: string, isChange: boolean])[] = [
  ["nft add table ip flt", true],
  ["nft add chain ip flt c", true],
  ["nft add rule ip flt c accept", true],
  ["nft list ruleset", false],
  ["nft flush ruleset", true],
  ["iptables-nft -t nat -A POSTROUTING -s 10.20.0.0/16 -j MASQUERADE", true],
  ["iptables-nft-save", false],
  ["iptables-nft -t nat -F POSTROUTING", true],
  ["ip route add 198.51.100.0/24 dev lo", false],
];

Deno.test("monitorRuleset() reports changed rules, and nothing else", async () => {
  await using namespace = await NetworkNamespace.create();
  const stop = new AbortController();
  const seen = monitorRuleset({ netns: namespace.path, signal: stop.signal });
  let changes = 0;
  const listening = (async () => {
    for await (const group of seen) changes += group.length;
  })();
  try {
    for (const [command, isChange] of COMMANDS) {
      changes = 0;
      await namespace.exec(...command.split(" "));
      const until = performance.now() + (isChange ? 5_000 : 100);
      while (performance.now() < until && changes === 0) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      assertEquals(changes > 0, isChange, command);
      // A tool may have made several transactions of it.
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // Queued events are reported together or in parts: none is lost.
    changes = 0;
    for (let i = 0; i < 5; i++) await namespace.exec("nft", "add", "table", "ip", `t${i}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert(changes >= 5, String(changes));
  } finally {
    stop.abort();
    await listening;
  }
});
