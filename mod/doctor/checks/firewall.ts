import { chainTag, openFirewall } from "../../firewall/mod.ts";
import { atMost, type Check, ok, problem, warning } from "../check.ts";

/** Does the host's firewall let the network's packets pass? Docker's policy for FORWARD is DROP. */
export const firewallCheck: Check = {
  id: "firewall",
  title: "the firewall lets the network's packets pass",
  async run(host) {
    await host.requireAgent();
    const { firewall, obstacles } = await host.plan();
    if (obstacles.length > 0) {
      return problem("somebody else's rules drop the network's packets", {
        evidence: obstacles,
        cure: ["as it says above, or in the words of the tool that makes these rules"],
      });
    }
    if (firewall.length > 0) {
      return problem("rules of ours are not as they should be", {
        evidence: atMost(firewall.map(({ sign, text }) => `${sign} ${text}`)),
        cure: [
          "an agent that runs puts them back, within -iptables-resync seconds at the latest",
          "what takes them away is often a reload of another firewall: firewall-cmd --reload, " +
          "iptables-restore, nft flush ruleset",
        ],
      });
    }
    const { forwardRules, firewall: mode, ipMasq, networkName, subnetFile } = host.options;
    const masquerade = ipMasq ? "masqueraded when they leave the network" : "not masqueraded";
    if (forwardRules) return ok(`packets are accepted, and ${masquerade}`);
    // Nothing is accepted by us; would it have to be?
    const own = await host.ownLease();
    const { network, enableNFTables } = await host.config();
    if (own === undefined) return ok(`packets are ${masquerade}; no rule of ours accepts any`);
    const spec = {
      ...{ tag: chainTag(networkName, subnetFile), network, subnet: own.subnet },
      ...{ ipMasq, forward: true, randomFully: true },
    };
    const watched = await openFirewall(spec, undefined, {
      ...{ mode, preferNftables: enableNFTables, signal: host.signal },
    });
    const drops = await watched.obstacles();
    if (drops.length === 0) {
      return warning("-iptables-forward-rules=false: no rule of ours accepts forwarded packets", {
        evidence: ["if FORWARD drops by its policy, as with Docker, nothing is forwarded"],
        cure: [
          `iptables -S FORWARD   # "-P FORWARD DROP" needs a rule that accepts ${network}`,
          "leave -iptables-forward-rules out",
        ],
      });
    }
    return problem("forwarded packets are dropped, and -iptables-forward-rules=false", {
      evidence: drops,
      cure: ["leave -iptables-forward-rules out"],
    });
  },
};
