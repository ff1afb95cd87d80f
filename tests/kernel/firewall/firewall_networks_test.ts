import { assert, assertEquals } from "@std/assert";
import { openFirewallCleaner } from "../../../mod/firewall/mod.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { open, setUpDocker } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";

const OTHER = {
  tag: "green",
  network: Prefix.parse("10.30.0.0/16")!,
  subnet: Prefix.parse("10.30.5.0/24")!,
};

/** Rules and chains that name a network, in any tool's words. */
async function linesOf(host: Namespace, mode: "iptables" | "nftables"): Promise<string[]> {
  const text = mode === "iptables"
    ? await host.run("iptables-save")
    : await host.run("nft", "-s", "list", "ruleset");
  return text.split("\n").map((line) => line.replace(/ \[\d+:\d+\]$/, "").trim())
    .filter((line) => /FLANNEL|flannel-ipv4/.test(line));
}

for (const mode of ["iptables", "nftables"] as const) {
  Deno.test(`openFirewall() keeps two networks' rules apart, with ${mode}`, async () => {
    await using host = await Namespace.make();
    if (mode === "iptables") await setUpDocker(host, "nft");
    const foreign = await linesOf(host, mode);
    const one = await open(host, {}, undefined, { mode });
    const other = await open(host, OTHER, undefined, { mode });
    assertEquals(await one.ensure(), "applied");
    const alone = await linesOf(host, mode);
    assertEquals(await other.ensure(), "applied");
    // Neither takes the other's for damage.
    for (const firewall of [one, other, one]) assertEquals(await firewall.ensure(), "unchanged");
    const both = await linesOf(host, mode);
    for (const line of alone) assert(both.includes(line), line);
    assertEquals(both.filter((line) => line.includes("-green")).length > 0, true);
    assert(both.every((line) => line.includes("-green") || alone.includes(line)));

    // A network's clean-up takes its own rules alone.
    const options = { commandPrefix: host.prefix };
    await (await openFirewallCleaner(OTHER, options, "green")).ensure();
    assertEquals(await linesOf(host, mode), alone);
    await (await openFirewallCleaner(undefined, options)).ensure();
    assertEquals(await linesOf(host, mode), foreign);
  });
}

Deno.test("openFirewall() does not take other networks' rules for a reason to accept twice", async () => {
  await using host = await Namespace.make();
  const one = await open(host, {}, undefined, { mode: "nftables" });
  await one.ensure();
  // As if another network of this host used iptables.
  const other = await open(host, OTHER, undefined, { mode: "iptables" });
  await other.ensure();
  assertEquals(await one.ensure(), "unchanged");
});
