import { atMost, type Check, ok, problem } from "../check.ts";

/** Checks, where a cloud's router carries the packets, that its tables lead to this host. */
export const routeTablesCheck: Check = {
  id: "route-tables",
  title: "the cloud provider's route tables lead to this host",
  async run(host) {
    const config = await host.config();
    const backend = await host.backend();
    if (backend.check === undefined) return ok(`${backend.type} needs none`);
    const own = (await host.ownLease())?.subnet;
    const { network } = await host.subnetEnv();
    const findings = await backend.check({
      ...{ config, external: host.external(), netlink: host.netlink, signal: host.signal },
      formerNetworks: network === undefined ? [] : [network],
    }, own);
    const of = (state: string) => findings.filter((one) => one.state === state);
    const [failed, warned] = [of("failed"), of("warning")];
    if (failed.length > 0) {
      return problem("the provider refuses, or something there is in the way", {
        evidence: atMost(failed.map(({ text }) => text)),
        fix: [
          `${backend.document} has the role that suffices, and each refusal`,
        ],
      });
    }
    if (warned.length > 0) {
      return problem("the provider's tables are not as they should be", {
        evidence: atMost(warned.map(({ text }) => text)),
        fix: [
          "an agent that runs puts them right within Backend.RepairPeriod seconds: is it running? " +
          "journalctl -u flanneld -n 50",
        ],
      });
    }
    return ok(findings.map(({ text }) => text).join("; "));
  },
};
