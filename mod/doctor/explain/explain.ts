import { nameOfInterface, routeOf, routeStep, type Step } from "../../../backends/steps.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { ConfigError } from "../../config/mod.ts";
import { StoreError } from "../../store/mod.ts";
import { HostFacts } from "../host_facts.ts";
import { nameOf, type PeerLease } from "../peers.ts";
import type { ProbeKind } from "../trace/flows.ts";
import {
  investigateLocal,
  investigateOutside,
  investigateOwn,
  investigatePeer,
} from "../trace/investigation.ts";
import { answerStep } from "./answer_step.ts";
import type { Explanation } from "./explanation.ts";
import { firewallSteps } from "./firewall_steps.ts";
import { traceSteps } from "./trace_steps.ts";

/**
 * Follows a packet from this host to an address, step by step. Makes no lasting change.
 *
 * @param kind protocol and port of the probe. @default an ICMP echo request

 * @throws {StoreError | ConfigError | InterfaceError | SysError | Unavailable} when it cannot be found out
 */
export async function explainAddress(
  agent: AgentOptions,
  address: IPv4,
  signal: AbortSignal,
  kind?: ProbeKind,
): Promise<Explanation> {
  await using host = new HostFacts(agent, signal);
  await requireConfig(host);
  const { network } = await host.config();
  const text = formatIPv4(address);
  const owner = host.netlink.addresses().find((one) => one.address === address);
  if (owner !== undefined) {
    const where = `${text} is an address of this host, on ${
      nameOfInterface(host.netlink, owner.index)
    }`;
    const isReached = (await host.ownLease())?.subnet.contains(address) === true;
    const traced = isReached ? await investigateOwn(host, address, kind) : undefined;
    const steps = traced === undefined ? [] : traceSteps(traced);
    steps.push(await answerStep(host, address, kind));
    return conclude(address, "own", steps, where);
  }
  if (!network.contains(address)) return await outside(host, address, kind);
  const own = await host.ownLease();
  if (own?.subnet.contains(address)) return await ownSubnet(host, address, kind);
  const peer = own === undefined
    ? undefined
    : (await host.peers()).find(({ lease }) => lease.subnet.contains(address));
  if (peer?.refused !== undefined) return refused(host, address, peer, peer.refused);
  if (peer !== undefined) return await toPeer(host, address, peer, kind);
  if (own === undefined) {
    const elsewhere = await host.leaseElsewhere();
    return {
      ...{ address: text, kind: "unassigned", steps: [routeStep(host.netlink, address)] },
      verdict: elsewhere?.message ??
        `this host holds no lease in ${network}: is flanneld running? flanneld doctor`,
    };
  }
  return await unassigned(host, address);
}

/** Throws the cause of a missing config. */
async function requireConfig(host: HostFacts): Promise<void> {
  const found = await host.storeSearch();
  if ("error" in found) throw found.error;
  if ("waiting" in found) throw new StoreError(found.waiting);
  const { config } = await host.snapshot();
  if (!("text" in config)) throw new ConfigError(config.missing);
}

/** Explains the way by the backend to the host that holds the subnet. */
async function toPeer(
  host: HostFacts,
  address: IPv4,
  peer: PeerLease,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const { lease } = peer;
  const { backend: { type } } = await host.config();
  const own = await host.ownLease();
  const steps: Step[] = [
    { object: "lease", text: `${nameOf(peer)}, ${type}` },
    ...(await host.inspection()).describe(lease, own!, address),
  ];
  const traced = await investigatePeer(host, peer, address, kind);
  steps.push(...await firewallSteps(host, address, traced));
  steps.push(await answerStep(host, address, kind, peer));
  const where = `${formatIPv4(address)} is in the subnet of ${nameOf(peer)}`;
  return conclude(address, "peer", steps, where);
}

async function ownSubnet(
  host: HostFacts,
  address: IPv4,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const own = (await host.ownLease())!;
  const route = routeOf(host.netlink, address);
  const text = formatIPv4(address);
  const isConnected = route !== undefined && route.gateway === undefined &&
    own.subnet.containsPrefix(route.destination);
  const step = routeStep(host.netlink, address);
  const steps: Step[] = [
    { object: "lease", text: `${own.subnet}, this host's own` },
    isConnected ? step : {
      ...step,
      wrong: `no bridge of this host is in ${own.subnet}: Docker does not run, or was started ` +
        "without flannel's options",
    },
  ];
  if (isConnected) {
    // First, so that the kernel has asked for the neighbour.
    const answer = await answerStep(host, address, kind);
    const neighbour = host.netlink.neighbours({ index: route.oif })
      .find((one) => one.address === address);
    const name = nameOfInterface(host.netlink, route.oif);
    steps.push({
      object: "neighbour",
      text: neighbour === undefined
        ? `none on ${name}: no container has answered for it yet`
        : `${text} lladdr ${neighbour.mac} dev ${name}`,
    });
    steps.push(...traceSteps(await investigateLocal(host, address, kind)), answer);
  }
  return conclude(address, "own-subnet", steps, `${text} is a container's address on this host`);
}

async function outside(
  host: HostFacts,
  address: IPv4,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const { network } = await host.config();
  const traced = await investigateOutside(host, address, kind);
  const steps = [
    routeStep(host.netlink, address),
    ...await firewallSteps(host, address, traced),
    await answerStep(host, address, kind),
  ];
  const where = `${formatIPv4(address)} is outside of ${network}: the host's own routes decide`;
  return conclude(address, "outside", steps, where);
}

function refused(
  host: HostFacts,
  address: IPv4,
  peer: PeerLease,
  reason: string,
): Explanation {
  return {
    ...{ address: formatIPv4(address), kind: "refused" },
    verdict: `nothing is carried there: the lease of ${nameOf(peer)} ${reason}`,
    steps: [
      { object: "lease", text: nameOf(peer), wrong: `it ${reason}` },
      routeStep(host.netlink, address),
    ],
  };
}

async function unassigned(host: HostFacts, address: IPv4): Promise<Explanation> {
  const { network } = await host.config();
  const { device } = await host.tunnel();
  const route = routeOf(host.netlink, address);
  const step = routeStep(host.netlink, address);
  const text = formatIPv4(address);
  const name = route && nameOfInterface(host.netlink, route.oif);
  const fate = name === undefined
    ? "no route leads there"
    : name === device
    ? `${device} drops what is sent there`
    : `what is sent there leaves by ${name}, where nobody knows it`;
  return {
    ...{ address: text, kind: "unassigned", steps: [step] },
    verdict: `${text} is in ${network}, and no host holds a subnet with it: ${fate}`,
  };
}

function conclude(
  address: IPv4,
  kind: Explanation["kind"],
  steps: readonly Step[],
  where: string,
): Explanation {
  const fault = steps.find(({ wrong }) => wrong !== undefined);
  const lost = fault?.object === "answer" ? "" : "packets do not get there: ";
  return {
    ...{ address: formatIPv4(address), kind, steps },
    verdict: fault === undefined ? where : `${where}; ${lost}${fault.wrong}`,
  };
}
