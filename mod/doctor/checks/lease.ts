import { PERMANENT } from "../../lease/mod.ts";
import { duration } from "../../text/mod.ts";
import { type Check, ok, problem, warning } from "../check.ts";

/** Checks that this host holds a lease, its remaining time, and that subnet.env agrees. */
export const leaseCheck: Check = {
  id: "lease",
  title: "this host's lease, and subnet.env",
  async run(host) {
    const { subnetFile, renewMargin } = host.options;
    const start = ["systemctl restart flanneld", "journalctl -u flanneld -n 50"];
    host.external();
    await host.requireAgent();
    const lease = await host.ownLease();
    if (lease === undefined) {
      const elsewhere = await host.leaseElsewhere();
      if (elsewhere !== undefined) {
        return problem(elsewhere.message, {
          fix: [
            `where flanneld runs with it: flanneld doctor ${elsewhere.flag}`,
            "where it does not: name the interface to it",
          ],
        });
      }
      return problem("this host holds no lease in the network", { fix: start });
    }
    const { network } = await host.config();
    const env = await host.subnetEnv();
    if (env.subnet === undefined) {
      return problem(`${subnetFile} is missing or names no subnet`, {
        evidence: [`the lease is ${lease.subnet}`],
        fix: start,
      });
    }
    if (!env.subnet.equals(lease.subnet) || env.network?.equals(network) !== true) {
      return problem(`${subnetFile} differs from the store`, {
        evidence: [
          `the file: subnet ${env.subnet} of network ${env.network ?? "none"}`,
          `the store: subnet ${lease.subnet} of network ${network}`,
        ],
        fix: [...start, "then restart Docker: systemctl restart docker"],
      });
    }
    const store = await host.store();
    const ttl = (await store.lease(lease.subnet, { signal: host.signal }))?.ttl;
    if (ttl === PERMANENT) return ok(`${lease.subnet}, reserved without expiry`);
    if (ttl === undefined) return ok(String(lease.subnet));
    const left = duration(ttl);
    // The agent renews at the margin, and tries again until the lease ends.
    if (ttl < renewMargin * 0.9) {
      return warning(`lease ${lease.subnet} runs out in ${left}, and should have been renewed`, {
        evidence: [`it is renewed ${duration(renewMargin)} before it runs out`],
        fix: start,
      });
    }
    return ok(`${lease.subnet}, for another ${left}`);
  },
};
