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
  /** Of the agent's last line without it. */
  readonly advice: string;
}

/** The firewall's come first: agents of all backends load them. */
const CASES: readonly Case[] = [
  {
    ...{ backend: "host-gw", firewall: "nftables", module: "nf_tables" },
    advice: "(the module nf_tables is not loaded: modprobe nf_tables)",
  },
  {
    ...{ backend: "host-gw", firewall: "iptables", module: "nft_compat" },
    // iptables-legacy remains.
    advice: "(the module ip_tables is not loaded: modprobe ip_tables)",
  },
  ...["vxlan", "ipip"].map((name) => ({
    ...{ backend: name, firewall: "auto", module: name },
    advice: `(the kernel has no module ${name}: install it, or choose another Backend.Type)`,
  })),
  {
    ...{ backend: "udp", firewall: "auto", module: "tun" },
    advice: "open /dev/net/tun: ENODEV: no such device (the kernel has no module tun: install it)",
  },
];

async function isLoaded(module: string): Promise<boolean> {
  return new RegExp(`^${module} `, "m").test(await Deno.readTextFile("/proc/modules"));
}

function start(host: UnderlayHost, { backend, firewall }: Case): Promise<LabProcess> {
  return host.spawn([
    ...[FLANNELD, "-iface=eth1", `-store=embedded=${host.dir}/leases.db`, "-ip-masq"],
    ...["-network=10.20.0.0/16", `-backend=${backend}`, `-firewall=${firewall}`],
    "-subnet-file=/run/flannel/subnet.env",
  ]);
}

for (const one of CASES) {
  const { backend, firewall, module, advice } = one;
  Deno.test(`${backend}, -firewall=${firewall}: the agent ends in a line that names what is missing for ${module}`, async () => {
    await using lab = await Lab.start({ hosts: 1 });
    await run(["mount", "-t", "tmpfs", "tmpfs", "/lib/modules"]);
    try {
      await using agent = await start(lab.hosts[0]!, one);
      assertEquals((await agent.status).code, 1, agent.output);
      assertStringIncludes(agent.output.trim().split("\n").at(-1)!, advice);
    } finally {
      await run(["umount", "/lib/modules"]);
    }
  });
}

for (const one of CASES) {
  const { backend, firewall, module } = one;
  Deno.test(`${backend}, -firewall=${firewall}: the kernel loads ${module} for the agent`, async () => {
    await using lab = await Lab.start({ hosts: 1 });
    assert(!await isLoaded(module));
    await using agent = await start(lab.hosts[0]!, one);
    await agent.waitFor(/Firewall rules in place/);
    assert(await isLoaded(module));
  });
}
