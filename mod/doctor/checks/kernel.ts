import { describeRoute } from "../../../backends/describe.ts";
import { RTPROT_FLANNEL } from "../../../backends/reconcile.ts";
import { atMost, type Check, ok, problem, warning } from "../check.ts";
import type { HostFacts } from "../host_facts.ts";
import {
  describeManagedLink,
  FLANNELD_DEVICES,
  keepRoutesCommands,
  managedLinks,
  unmanageCommands,
} from "../link_managers.ts";
import { RT_TABLE_MAIN } from "../../sys/linux_constants.ts";
import { counted } from "../../text/mod.ts";

/** Compares the kernel with what the agent would program: a change that it would make is a fault. */
export const kernelCheck: Check = {
  id: "kernel",
  title: "device, addresses, routes, neighbours and FDB entries are complete",
  async run(host) {
    await host.requireAgent();
    const { kernel } = await host.plan();
    const { device } = await host.tunnel();
    const managed = await managedDevices(host);
    if (kernel.length === 0) {
      const stale = await staleRoutes(host);
      if (stale.length > 0) {
        return warning(
          `${counted(stale.length, "route")} of protocol ${RTPROT_FLANNEL} into networks that no ` +
            "running agent serves",
          {
            evidence: atMost(stale.map((text) => `stale ${text}`)),
            fix: atMost(stale.map((text) => `ip ${text.replace("route", "route del")}`)),
          },
        );
      }
      if (managed.evidence.length > 0) {
        return warning(
          "another program manages flanneld's device, and may remove its addresses",
          managed,
        );
      }
      const refused = (await host.peers()).filter(({ refused }) => refused !== undefined).length;
      const carried = (await host.peers()).length - refused;
      return ok(
        `${device ?? "routes"}: ${counted(carried, "peer")}` +
          (refused > 0 ? `, ${refused} refused` : ""),
      );
    }
    return problem(`${counted(kernel.length, "object")} missing or wrong`, {
      evidence: [
        ...atMost(kernel.map(({ sign, text }) => `${sign} ${text}`)),
        ...managed.evidence,
      ],
      fix: [
        "an agent that runs puts them back at once: is it running? journalctl -u flanneld -n 50",
        ...(managed.fix.length > 0
          ? managed.fix
          : ["if they change again, another program or script removes them"]),
      ],
    });
  },
};

/**
 * Finds programs that manage flanneld's devices. Without a device, those that manage the interface to the other hosts
 * and remove routes of other programs.
 */
async function managedDevices(host: HostFacts): Promise<{ evidence: string[]; fix: string[] }> {
  const { device } = await host.tunnel();
  if (device === undefined) {
    // The interface is the program's own; a host whose routes are complete has no fault.
    if ((await host.plan()).kernel.length === 0) return { evidence: [], fix: [] };
    const found = (await managedLinks([host.external()]))
      .filter(({ manager }) => manager === "systemd-networkd");
    return {
      evidence: found.map((link) => `${describeManagedLink(link)}: it removes routes at its start`),
      fix: found.length > 0 ? keepRoutesCommands() : [],
    };
  }
  const prefix = FLANNELD_DEVICES.replace("*", "");
  const links = host.netlink.links().filter(({ name }) => name.startsWith(prefix));
  const found = await managedLinks(links);
  return {
    evidence: found.map(describeManagedLink),
    fix: [...new Set(found.map(({ manager }) => manager))]
      .flatMap((manager) => unmanageCommands(manager, FLANNELD_DEVICES, "flanneld")),
  };
}

/**
 * Finds routes of a network that no agent serves now. No agent removes them, because subnet.env does not name the
 * network.
 *
 * @returns each in the words of ip(8)
 */
async function staleRoutes(host: HostFacts): Promise<string[]> {
  const { network: former } = await host.subnetEnv();
  const served = [(await host.config()).network, ...await host.others()];
  if (former !== undefined) served.push(former);
  const nameOf = (index: number) => host.netlink.linkByIndex(index)?.name ?? `interface ${index}`;
  return host.netlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL })
    .filter(({ destination }) => !served.some((network) => network.overlaps(destination)))
    .map((route) => describeRoute(route, nameOf));
}
