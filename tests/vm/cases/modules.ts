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

const FIREWALLS: readonly Case[] = [
  {
    ...{ backend: "host-gw", firewall: "nftables", module: "nf_tables" },
    advice: "(the module nf_tables is not loaded: modprobe nf_tables)",
  },
  {
    ...{ backend: "host-gw", firewall: "iptables", module: "nft_compat" },
    // iptables-legacy remains.
    advice: "(the module ip_tables is not loaded: modprobe ip_tables)",
  },
];

const BACKENDS: readonly Case[] = [
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

function start(host: UnderlayHost, backend: string, firewall: string): Promise<LabProcess> {
  return host.spawn([
    ...[FLANNELD, "-iface=eth1", `-store=embedded=${host.dir}/leases.db`, "-ip-masq"],
    ...["-network=10.20.0.0/16", `-backend=${backend}`, `-firewall=${firewall}`],
    "-subnet-file=/run/flannel/subnet.env",
  ]);
}

// The firewall's come first: agents of all backends load them.
for (const cases of [FIREWALLS, BACKENDS]) {
  for (const { backend, firewall, module, advice } of cases) {
    Deno.test(`${backend}, -firewall=${firewall}: the agent ends in a line that names what is missing for ${module}`, async () => {
      await using lab = await Lab.start({ hosts: 1 });
      await run(["mount", "-t", "tmpfs", "tmpfs", "/lib/modules"]);
      try {
        await using agent = await start(lab.hosts[0]!, backend, firewall);
        assertEquals((await agent.status).code, 1, agent.output);
        assertStringIncludes(agent.output.trim().split("\n").at(-1)!, advice);
      } finally {
        await run(["umount", "/lib/modules"]);
      }
    });
  }

  for (const { backend, firewall, module } of cases) {
    Deno.test(`${backend}, -firewall=${firewall}: the kernel loads ${module} for the agent`, async () => {
      await using lab = await Lab.start({ hosts: 1 });
      assert(!await isLoaded(module));
      await using agent = await start(lab.hosts[0]!, backend, firewall);
      await agent.waitFor(/Firewall rules in place/);
      assert(await isLoaded(module));
    });
  }
}
