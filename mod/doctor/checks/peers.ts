import type { Tunnel } from "../../../backends/backend.ts";
import { carrierOf } from "../../../backends/steps.ts";
import { atMost, type Check, type Finding, ok, problem, warning } from "../check.ts";
import type { HostFacts } from "../host_facts.ts";
import { EVICT, nameOf } from "../peers.ts";
import { type PeerReach, reachPeers, whatIsWrong } from "../reach.ts";

/** Checks whether packets reach every peer and come back. */
export const peersCheck: Check = {
  id: "peers",
  title: "peers answer through the network",
  async run(host) {
    const reached = await reachPeers(host);
    if (reached.length === 0) return ok("there is no other host");
    const isDirect = (await host.tunnel()).protocol === undefined;
    // Without a tunnel only Docker's bridge and the host's own address can answer.
    const answers = reached.filter(({ overlay, isUp }) =>
      overlay !== undefined || (isDirect && isUp)
    );
    const blocked = reached.filter((one) => !answers.includes(one) && one.isUp);
    const silent = reached.filter((one) => !answers.includes(one) && !one.isUp);
    if (blocked.length > 0) return await blockedFinding(host, blocked, reached.length);
    if (silent.length === 0) return ok(`${reached.length} of ${reached.length}${times(answers)}`);
    return silentFinding(silent, reached.length, host.external().name);
  },
};

/** Returns the range of round trips: `, 0.08 to 0.31 ms`. */
function times(answers: readonly PeerReach[]): string {
  const rtts = answers.flatMap(({ overlay }) => overlay === undefined ? [] : [overlay.rtt]);
  if (rtts.length === 0) return " hosts answer; Docker's bridge there does not";
  const [least, most] = [Math.min(...rtts), Math.max(...rtts)].map((rtt) => rtt.toFixed(2));
  return least === most ? `, ${least} ms` : `, ${least} to ${most} ms`;
}

/** Returns the finding for hosts that are up and that the network does not reach. */
async function blockedFinding(
  host: HostFacts,
  blocked: readonly PeerReach[],
  of: number,
): Promise<Finding> {
  const tunnel = await host.tunnel();
  const { port } = tunnel;
  const carrier = carrierOf(tunnel);
  const { kernel, tools, toolCommands } = await host.plan();
  if (kernel.length > 0) {
    return problem(
      `${blocked.length} of ${of} hosts are up and do not answer through the network; something is ` +
        "missing in this host's kernel, see check kernel",
      { evidence: atMost(blocked.map(({ peer }) => nameOf(peer))) },
    );
  }
  const isClosed = blocked.every(({ port }) => port?.type === "closed");
  const evidence = blocked.map((one) => `${nameOf(one.peer)}: ${whatIsWrong(one, carrier)}`);
  const summary = isClosed
    ? `${blocked.length} of ${of} hosts are up, and nobody there takes ${carrier}`
    : `${carrier} is blocked between this host and ${blocked.length} of ${of}, which are up`;
  return problem(summary, {
    evidence: atMost(evidence),
    fix: isClosed
      ? [
        "systemctl start flanneld   # there",
        "ss -lun   # there: is it another port? Then that host has another config",
      ]
      : [
        ...(tools.length > 0 && port !== undefined
          ? tools.flatMap((tool) => toolCommands(tool, "input")).map((command) =>
            `${command}   # on both hosts`
          )
          : openingsFor(tunnel)),
        `in a cloud: let the hosts' security group take ${
          port === undefined ? carrier : `UDP ${port}`
        } from itself`,
        `tcpdump -ni ${host.external().name} ${
          port === undefined ? `ip proto ${tunnel.protocol}` : `udp port ${port}`
        }   # which of the two does not see them?`,
      ],
  });
}

/** Returns the commands that let a tunnel's packets in on a host without a known firewall. */
function openingsFor({ protocol, port }: Tunnel): string[] {
  const [permanent, match] = port === undefined
    ? [`--add-protocol=${protocol}`, `-p ${protocol}`]
    : [`--add-port=${port}/udp`, `-p udp --dport ${port}`];
  return [
    `firewall-cmd --permanent ${permanent} && firewall-cmd --reload   # on both hosts`,
    `iptables -I INPUT ${match} -j ACCEPT   # without firewalld, on both hosts`,
  ];
}

/** Returns the finding for hosts that do not answer at any address. */
function silentFinding(silent: readonly PeerReach[], of: number, device: string): Finding {
  const evidence = atMost(silent.map(({ peer }) => nameOf(peer)));
  const fix = [
    `ping -I ${device} <its address>   # from here; and from another host`,
    EVICT,
  ];
  if (silent.length === of) {
    return problem(`no other host answers, not even at its public address`, { evidence, fix });
  }
  return warning(
    `${silent.length} of ${of} hosts do not answer, not even at their public addresses: down, or ` +
      "cut off",
    { evidence, fix },
  );
}
