import { chainTag, mergeCommands, openFirewall } from "../../firewall/mod.ts";
import { atMost, type Check, type Finding, ok, problem, warning } from "../check.ts";
import { investigateLease, type Investigation } from "../trace/investigation.ts";

/** Checks whether the host's firewall lets the network's packets pass. Docker's policy for FORWARD is DROP. */
export const firewallCheck: Check = {
  id: "firewall",
  title: "the firewall lets the network's packets pass",
  async run(host) {
    await host.requireAgent();
    const { firewall, obstacles } = await host.plan();
    const traced = await investigateLease(host);
    const differences = atMost(firewall.map(({ sign, text }) => `${sign} ${text}`));
    const dropped = droppedFinding(traced, differences);
    if (dropped !== undefined) return dropped;
    const isTraced = "verdicts" in traced;
    const untraced = isTraced ? [] : [`no probe could be traced: ${traced.unavailable}`];
    if (obstacles.length > 0) {
      const more = {
        evidence: [...obstacles.map(({ text }) => text), ...untraced],
        fix: mergeCommands(obstacles.map(({ commands }) => commands)),
      };
      return isTraced
        ? warning(
          "probes got through; rules of other programs on this host drop other packets",
          more,
        )
        : problem("rules of other programs on this host drop the network's packets", more);
    }
    if (firewall.length > 0) {
      return problem("rules of flanneld are missing or wrong", {
        evidence: differences,
        fix: [
          "an agent that runs puts them back, within -iptables-resync seconds at the latest",
          "a reload of another firewall often removes them: firewall-cmd --reload, " +
          "iptables-restore, nft flush ruleset",
        ],
      });
    }
    const { forwardRules, firewall: mode, ipMasq, networkName, subnetFile } = host.options;
    const masquerade = ipMasq ? "masqueraded when they leave the network" : "not masqueraded";
    if (isTraced) {
      const ways = traced.verdicts.map(({ flow }) => `a probe got through ${flow.text}`);
      return ok(`packets get through, and are ${masquerade}`, ways);
    }
    if (forwardRules) return ok(`packets are accepted, and ${masquerade}`, untraced);
    // No rule of flanneld accepts packets: do the host's rules?
    const own = await host.ownLease();
    const { network, enableNFTables } = await host.config();
    if (own === undefined) return ok(`packets are ${masquerade}; no rule of flanneld accepts any`);
    const spec = {
      ...{ tag: chainTag(networkName, subnetFile), network, subnet: own.subnet },
      ...{ ipMasq, forward: true, randomFully: true },
    };
    const watched = await openFirewall(spec, undefined, {
      ...{ mode, preferNftables: enableNFTables, signal: host.signal },
    });
    const { obstacles: drops } = await watched.survey();
    if (drops.length === 0) {
      return warning(
        "-iptables-forward-rules=false: no rule of flanneld accepts forwarded packets",
        {
          evidence: ["if FORWARD drops by its policy, as with Docker, nothing is forwarded"],
          fix: [
            `iptables -S FORWARD   # "-P FORWARD DROP" needs a rule that accepts ${network}`,
            "leave -iptables-forward-rules out",
          ],
        },
      );
    }
    return problem("forwarded packets are dropped, and -iptables-forward-rules=false", {
      evidence: drops.map(({ text }) => text),
      fix: ["leave -iptables-forward-rules out"],
    });
  },
};

/** Reports rules that drop probes. Other checks report other causes. */
function droppedFinding(
  traced: Investigation,
  differences: readonly string[],
): Finding | undefined {
  const stopped = "verdicts" in traced
    ? traced.verdicts.filter(({ stop }) => stop?.rule !== undefined)
    : [];
  if (stopped.length === 0) return undefined;
  const evidence = stopped.map(({ flow, stop }) => `${flow.text}: ${stop!.text}`);
  // A policy of iptables drops packets that flanneld's rules did not accept.
  const isPolicy = stopped.some(({ stop }) =>
    stop!.rule!.isPolicy && stop!.rule!.program !== "nft"
  );
  const missing = isPolicy ? differences.filter((line) => line.startsWith("+")) : [];
  return problem(
    `${stopped.length === 1 ? "a rule drops" : "rules drop"} packets of the network: a probe of ${
      stopped.map(({ flow }) => DIRECTIONS[flow.name]).join(" and of ")
    } did not get through`,
    {
      evidence: [...evidence, ...missing.map((line) => `flanneld's own rules: ${line}`)],
      fix: [
        ...missing.length > 0
          ? [
            "a running agent restores its own rules, at the latest after -iptables-resync seconds",
          ]
          : [],
        ...mergeCommands(stopped.map(({ stop }) => stop!.fix)),
      ],
    },
  );
}

const DIRECTIONS = {
  in: "packets from other hosts' containers",
  out: "packets from containers here",
  tunnel: "the tunnel",
} as const;
