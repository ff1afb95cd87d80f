import type { AgentOptions } from "../../agent/core/options.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { ConfigError } from "../../config/mod.ts";
import { StoreError } from "../../store/mod.ts";
import { Examination } from "../examination.ts";
import { nameOf, type PeerLease } from "../peers.ts";
import type { ProbeKind } from "../trace/flows.ts";
import {
  investigateLocal,
  investigateOutside,
  investigateOwn,
  investigatePeer,
} from "../trace/investigation.ts";
import type { Explanation, Step } from "./explanation.ts";
import { firewallSteps } from "./firewall_steps.ts";
import {
  deviceStep,
  nameOfInterface,
  routeOf,
  routeStep,
  underlayStep,
  vxlanSteps,
} from "./kernel_steps.ts";
import { traceSteps } from "./trace_steps.ts";
import { udpPathStep } from "./udp_path.ts";

/**
 * Follows a packet from this host to an address, step by step. Makes no lasting change.
 *
 * @param kind protocol and port of the probe. @default an ICMP echo request

 * @throws {StoreError | ConfigError | InterfaceError | SysError | Unavailable} when it cannot be told
 */
export async function explainAddress(
  agent: AgentOptions,
  address: IPv4,
  signal: AbortSignal,
  kind?: ProbeKind,
): Promise<Explanation> {
  await using host = new Examination(agent, signal);
  await requireConfig(host);
  const { network } = await host.config();
  const text = formatIPv4(address);
  const owner = host.netlink.addresses().find((one) => one.address === address);
  if (owner !== undefined) {
    const where = `${text} is an address of this host, on ${nameOfInterface(host, owner.index)}`;
    const isReached = (await host.ownLease())?.subnet.contains(address) === true;
    const traced = isReached ? await investigateOwn(host, address, kind) : undefined;
    return conclude(address, "own", traced === undefined ? [] : traceSteps(traced), where);
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
      ...{ address: text, kind: "unassigned", steps: [routeStep(host, address, undefined)] },
      verdict: elsewhere?.message ??
        `this host holds no lease in ${network}: is flanneld running? flanneld doctor`,
    };
  }
  return await unassigned(host, address);
}

/** The reason itself, rather than that there is no config. */
async function requireConfig(host: Examination): Promise<void> {
  const found = await host.storeSearch();
  if ("error" in found) throw found.error;
  if ("waiting" in found) throw new StoreError(found.waiting);
  const { config } = await host.snapshot();
  if (!("text" in config)) throw new ConfigError(config.missing);
}

/** By way of the backend, to the host that holds the subnet. */
async function toPeer(
  host: Examination,
  address: IPv4,
  peer: PeerLease,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const { lease } = peer;
  const { backend: { type } } = await host.config();
  const { device, port, mtu } = await host.tunnel();
  const { publicIP } = lease.attributes;
  const steps: Step[] = [{ object: "lease", text: `${nameOf(peer)}, ${type}` }];
  const external = host.external();
  const local = formatIPv4(external.address);
  const route = routeOf(host, address);
  // DirectRouting: no tunnel to hosts on the same link.
  const isDirect = type === "vxlan" && route?.gateway === publicIP && route.oif === external.index;
  if (type === "alloc") {
    steps.push(routeStep(host, address, undefined));
  } else if (device === undefined || isDirect) {
    const step = routeStep(host, address, external.name);
    const isRight = step.wrong !== undefined || route?.gateway === publicIP ||
      !["host-gw", "vxlan"].includes(type);
    steps.push(
      isRight
        ? step
        : { ...step, wrong: `the route does not lead to host ${formatIPv4(publicIP)}` },
      underlayStep(host, publicIP),
    );
  } else {
    steps.push(routeStep(host, address, device), deviceStep(host, device, mtu));
    if (type === "vxlan") steps.push(...vxlanSteps(host, lease, device));
    if (type === "udp") steps.push(udpPathStep(host, device, address, peer));
    steps.push({
      object: "encapsulation",
      text: `${type}, from ${local} to ${formatIPv4(publicIP)}, UDP port ${port}; ${mtu} bytes fit`,
    }, underlayStep(host, publicIP));
  }
  const traced = await investigatePeer(host, peer, address, kind);
  steps.push(...await firewallSteps(host, address, traced));
  const where = `${formatIPv4(address)} is in the subnet of ${nameOf(peer)}`;
  return conclude(address, "peer", steps, where);
}

async function ownSubnet(
  host: Examination,
  address: IPv4,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const own = (await host.ownLease())!;
  const route = routeOf(host, address);
  const text = formatIPv4(address);
  const isConnected = route !== undefined && route.gateway === undefined &&
    own.subnet.containsPrefix(route.destination);
  const step = routeStep(host, address, undefined);
  const steps: Step[] = [
    { object: "lease", text: `${own.subnet}, this host's own` },
    isConnected ? step : {
      ...step,
      wrong: `no bridge of this host is in ${own.subnet}: Docker does not run, or was started ` +
        "without flannel's options",
    },
  ];
  if (isConnected) {
    const neighbour = host.netlink.neighbours({ index: route.oif })
      .find((one) => one.address === address);
    const name = nameOfInterface(host, route.oif);
    steps.push({
      object: "neighbour",
      text: neighbour === undefined
        ? `none on ${name}: no container has answered for it yet`
        : `${text} lladdr ${neighbour.mac} dev ${name}`,
    });
    steps.push(...traceSteps(await investigateLocal(host, address, kind)));
  }
  return conclude(address, "own-subnet", steps, `${text} is a container's address on this host`);
}

async function outside(
  host: Examination,
  address: IPv4,
  kind: ProbeKind | undefined,
): Promise<Explanation> {
  const { network } = await host.config();
  const traced = await investigateOutside(host, address, kind);
  const steps = [
    routeStep(host, address, undefined),
    ...await firewallSteps(host, address, traced),
  ];
  const where = `${formatIPv4(address)} is outside of ${network}: the host's own routes decide`;
  return conclude(address, "outside", steps, where);
}

function refused(
  host: Examination,
  address: IPv4,
  peer: PeerLease,
  reason: string,
): Explanation {
  return {
    ...{ address: formatIPv4(address), kind: "refused" },
    verdict: `nothing is carried there: the lease of ${nameOf(peer)} ${reason}`,
    steps: [
      { object: "lease", text: nameOf(peer), wrong: `it ${reason}` },
      routeStep(host, address, undefined),
    ],
  };
}

async function unassigned(host: Examination, address: IPv4): Promise<Explanation> {
  const { network } = await host.config();
  const { device } = await host.tunnel();
  const route = routeOf(host, address);
  const step = routeStep(host, address, undefined);
  const text = formatIPv4(address);
  const name = route && nameOfInterface(host, route.oif);
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
  const wrong = steps.find(({ wrong }) => wrong !== undefined)?.wrong;
  return {
    ...{ address: formatIPv4(address), kind, steps },
    verdict: wrong === undefined ? where : `${where}; packets do not get there: ${wrong}`,
  };
}
