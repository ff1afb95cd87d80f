/**
 * Kernel modules that nobody has loaded, on a kernel that has everything as a module: `deno task test:vm`.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { run } from "../../lab/command.ts";
import { FLANNELD } from "../../lab/executable.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import type { LabProcess } from "../../lab/process.ts";

interface Case {
  readonly backend: string;
  readonly firewall: string;
  readonly module: string;
  /** Parts of the agent's last line without it. */
  readonly advice: readonly string[];
}

const FIREWALLS: readonly Case[] = [
  {
    ...{ backend: "host-gw", firewall: "nftables", module: "nf_tables" },
    advice: ["(the module nf_tables is not loaded: modprobe nf_tables)"],
  },
  {
    ...{ backend: "host-gw", firewall: "auto", module: "nft_compat" },
    advice: ["ip_tables", "nf_tables"].map((name) =>
      `(the module ${name} is not loaded: modprobe ${name})`
    ),
  },
];

const BACKENDS: readonly Case[] = [
  ...["vxlan", "ipip"].map((name) => ({
    ...{ backend: name, firewall: "auto", module: name },
    advice: [`(the kernel has no module ${name}: install it, or choose another Backend.Type)`],
  })),
  {
    ...{ backend: "udp", firewall: "auto", module: "tun" },
    advice: [
      "open /dev/net/tun: ENODEV: no such device (the kernel has no module tun: install it)",
    ],
  },
];

/** Modules that iptables-legacy needs for the agent's rules. */
const LEGACY = ["iptable_nat", "iptable_filter", "xt_MASQUERADE", "xt_comment", "xt_mark"];

/** Hides the modules that are not loaded yet. */
async function hideModules(): Promise<AsyncDisposable> {
  await run(["mount", "-t", "tmpfs", "tmpfs", "/lib/modules"]);
  return {
    async [Symbol.asyncDispose]() {
      await run(["umount", "/lib/modules"]);
    },
  };
}

async function isLoaded(module: string): Promise<boolean> {
  return new RegExp(`^${module} `, "m").test(await Deno.readTextFile("/proc/modules"));
}

function start(host: UnderlayHost, backend: string, firewall: string): Promise<LabProcess> {
  return host.spawn([
    ...[FLANNELD, "-iface=eth1", `-store=embedded=${host.dir}/leases.db`, "-ip-masq"],
    ...["-network=10.20.0.0/16", `-backend=${backend}`, `-firewall=${firewall}`],
    "-subnet-file=/run/flannel/subnet.env",
  ]);
}

function testWithout({ backend, firewall, module, advice }: Case): void {
  Deno.test(`${backend}, -firewall=${firewall}: the agent ends in a line that names what is missing for ${module}`, async () => {
    await using lab = await Lab.start({ hosts: 1 });
    await using _ = await hideModules();
    await using agent = await start(lab.hosts[0]!, backend, firewall);
    assertEquals((await agent.status).code, 1, agent.output);
    const line = agent.output.trim().split("\n").at(-1)!;
    for (const part of advice) assertStringIncludes(line, part);
  });
}

function testWith({ backend, firewall, module }: Case): void {
  Deno.test(`${backend}, -firewall=${firewall}: the kernel loads ${module} for the agent`, async () => {
    await using lab = await Lab.start({ hosts: 1 });
    assert(!await isLoaded(module));
    await using agent = await start(lab.hosts[0]!, backend, firewall);
    await agent.waitFor(/Firewall rules in place/);
    assert(await isLoaded(module));
  });
}

// The firewall's come first: agents of all backends load them.
FIREWALLS.forEach(testWithout);
Deno.test("host-gw, -firewall=auto: the agent uses iptables-legacy in a kernel without nf_tables", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  // With ip_set comes nfnetlink, without which nft lists no tables and does not fail.
  await run(["modprobe", "-a", "ip_set", ...LEGACY]);
  await using _ = await hideModules();
  await using agent = await start(lab.hosts[0]!, "host-gw", "auto");
  await agent.waitFor(/Firewall rules in place.*legacy/);
  assert(!await isLoaded("nf_tables"));
});
FIREWALLS.forEach(testWith);
BACKENDS.forEach(testWithout);
BACKENDS.forEach(testWith);
