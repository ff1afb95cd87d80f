import { hostIdentity } from "../../host/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Check, ok, problem, warning } from "../check.ts";

/** Checks that no other host has this public IP: two hosts with one would get one subnet. */
export const publicIpCheck: Check = {
  id: "public-ip",
  title: "no other host has our public IP",
  async run(host) {
    const { agents } = await host.snapshot();
    const { publicIP, name } = host.external();
    const ip = formatIPv4(publicIP);
    const fix = [
      `give each host an address of its own: -iface, for example -iface=eth1, or -public-ip`,
    ];
    const record = agents.find((agent) => agent.publicIP === publicIP)?.record;
    const self = hostIdentity();
    if (record !== undefined) {
      const isOurs = record.machineId === self.machineId && record.hostname === self.hostname;
      if (isOurs) return ok(`${ip} is held by this host`);
      return problem(`public IP ${ip} is held by host ${record.hostname}, not by this one`, {
        evidence: [
          `its agent ${record.version} started ${record.started}`,
          `this host is ${self.hostname} and has ${ip} on ${name}`,
        ],
        fix,
      });
    }
    const lease = await host.ownLease();
    if (lease === undefined) return ok(`nobody holds ${ip} yet`);
    const reason = (await host.inspection()).foreignLeaseReason?.(lease);
    if (reason === undefined) {
      return ok(`${ip} has lease ${lease.subnet}, written by an agent that keeps no record`);
    }
    return warning(`lease ${lease.subnet} has our public IP ${ip}, but may be another host's`, {
      evidence: [reason],
      fix,
    });
  },
};
