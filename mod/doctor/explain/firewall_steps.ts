import { describeObstacle } from "../../firewall/mod.ts";
import type { IPv4 } from "../../ip/mod.ts";
import { reasonNotChecked } from "../errors.ts";
import type { HostFacts } from "../host_facts.ts";
import { forwardingOf } from "../forwarding.ts";
import type { Investigation } from "../trace/investigation.ts";
import type { Step } from "../../../backends/steps.ts";
import { isMasqueraded } from "./masquerade.ts";
import { tracedMasquerade, traceSteps } from "./trace_steps.ts";

/**
 * Returns the firewall's steps on the way of a packet from a container of this host to the address.
 *
 * @param traced verdicts of the probes, which are more exact than rules that were only read
 */
export async function firewallSteps(
  host: HostFacts,
  destination: IPv4,
  traced: Investigation,
): Promise<Step[]> {
  const own = await host.ownLease();
  if (own === undefined) return [];
  const { network } = await host.config();
  const { ipMasq, forwardRules: forward } = host.options;
  const spec = { network, subnet: own.subnet, ipMasq, forward, randomFully: true };
  const source = own.subnet.address + 2;
  return [
    await forwardingStep(host),
    await forwardStep(host, forward, traced),
    tracedMasquerade(traced) ?? {
      object: "masquerade",
      text: isMasqueraded(spec, { source, destination })
        ? "the source becomes the address of the interface that it leaves by"
        : "the source stays the container's" +
          (network.contains(destination) ? "" : ", unless Docker's rules change it"),
    },
    ...traceSteps(traced),
  ];
}

/** Returns the state of forwarding: packets of containers are forwarded on their way out and back. */
async function forwardingStep(host: HostFacts): Promise<Step> {
  const object = "forwarding";
  const { isOn, names, off } = await forwardingOf(host);
  if (!isOn) {
    return {
      object,
      text: "off",
      wrong: "net.ipv4.ip_forward is 0: nothing gets from containers to other hosts; " +
        "sysctl -w net.ipv4.ip_forward=1",
    };
  }
  if (off.length === 0) return { object, text: `on, for ${names.join(", ")} too` };
  return {
    object,
    text: "off on single interfaces",
    wrong: `${off.join(", ")} is 0; sysctl -w ${off[0]}=1`,
  };
}

async function forwardStep(
  host: HostFacts,
  forward: boolean,
  traced: Investigation,
): Promise<Step> {
  const object = "firewall";
  try {
    const { firewall, obstacles } = await host.plan();
    const [obstacle] = obstacles;
    if (obstacle !== undefined && "unavailable" in traced) {
      return { object, text: "dropped", wrong: describeObstacle(obstacle) };
    }
    if (firewall.length > 0) {
      const [{ sign, text }] = firewall as [typeof firewall[0]];
      return { object, text: "not as it should be", wrong: `${sign} ${text}` };
    }
  } catch (error) {
    return { object, text: `not checked: ${reasonNotChecked(error)}` };
  }
  const isDropped = "verdicts" in traced &&
    traced.verdicts.some(({ stop }) => stop?.rule !== undefined);
  if (isDropped) return { object, text: "a rule of the host drops packets, as the probes show" };
  return {
    object,
    text: forward
      ? "accepted in FORWARD by our rules"
      : "left to the host's rules, as set by -iptables-forward-rules=false",
  };
}
