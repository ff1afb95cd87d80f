import { readSysctl } from "../../host/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { atMost, type Check, type Finding, ok, problem } from "../check.ts";
import type { HostFacts } from "../host_facts.ts";
import { investigateLease } from "../trace/investigation.ts";

/** Strict reverse path filtering, RFC 3704 (ip-sysctl: 0 off, 1 strict, 2 loose). */
const STRICT = 1;

/**
 * Checks that reverse path filtering does not drop peers' packets. A strict filter accepts a packet only from the
 * interface by which the kernel would answer.
 */
export const rpFilterCheck: Check = {
  id: "rp-filter",
  title: "reverse path filtering lets peers' packets in",
  async run(host) {
    const external = host.external();
    const stopped = await stoppedByFilter(host);
    if (stopped !== undefined) return stopped;
    // The kernel uses the greater of both.
    const mode = Math.max(
      ...["all", external.name].map((name) =>
        Number(readSysctl(`net/ipv4/conf/${name}/rp_filter`) ?? 0)
      ),
    );
    const what = `${external.name} filters ${["not at all", "strictly", "loosely"][mode] ?? mode}`;
    if (mode !== STRICT) return ok(what);
    const peers = await host.peers();
    const elsewhere = peers.flatMap(({ lease: { attributes: { publicIP } } }) => {
      const route = host.routeTo(publicIP);
      if (route === undefined || route.oif === external.index) return [];
      const link = host.netlink.linkByIndex(route.oif)?.name ?? `interface ${route.oif}`;
      return [`${formatIPv4(publicIP)} would be answered by ${link}`];
    });
    if (elsewhere.length === 0) return ok(`${what}; every peer is answered by it`);
    return problem(`${what} and drops packets of peers that would be answered elsewhere`, {
      evidence: atMost(elsewhere),
      fix: [
        `sysctl -w net.ipv4.conf.${external.name}.rp_filter=2`,
        ...(readSysctl("net/ipv4/conf/all/rp_filter") === "1"
          ? ["sysctl -w net.ipv4.conf.all.rp_filter=2"]
          : []),
        `or lead the route to them by ${external.name}`,
      ],
    });
  },
};

/** Returns the finding for a probe that the overlay device's filter dropped. */
async function stoppedByFilter(host: HostFacts): Promise<Finding | undefined> {
  const traced = await investigateLease(host);
  const found = "verdicts" in traced
    ? traced.verdicts.find(({ flow, stop }) => flow.name === "in" && stop?.reason === "IP_RPFILTER")
    : undefined;
  return found?.stop &&
    problem("the filter drops a probe of packets from other hosts' containers", {
      evidence: [`${found.flow.text}: ${found.stop.text}`],
      fix: found.stop.fix,
    });
}
