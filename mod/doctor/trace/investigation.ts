import { containerBridge } from "../../agent/host/containers.ts";
import { HostCommands } from "../../firewall/command.ts";
import type { IPv4 } from "../../ip/mod.ts";
import { BpfError } from "../../sys/bpf/error.ts";
import { Unavailable } from "../check.ts";
import { reasonNotChecked } from "../errors.ts";
import type { HostFacts, PlannedChanges } from "../host_facts.ts";
import { echoAddresses, type PeerLease } from "../peers.ts";
import {
  type Flow,
  incomingFlow,
  outgoingFlow,
  type OverlayPath,
  type ProbeKind,
  tunnelFlow,
} from "./flows.ts";
import { judge, type Verdict } from "./judge.ts";
import { localContainers } from "./local_containers.ts";
import { RuleNames } from "./rule_names.ts";
import { PacketTracer } from "./tracer.ts";

/** Verdicts of the probes through this host's rules. */
export type Investigation =
  | { readonly verdicts: readonly Verdict[] }
  /** Why none could be traced: "it takes root: run as root". */
  | { readonly unavailable: string };

/** The flow to probe. */
export interface Question {
  /** The other end, where it is not a host's own address. @default the first host's */
  readonly address?: IPv4;
  /** Protocol and port of the probe to {@linkcode Question.address}. @default an ICMP echo */
  readonly kind?: ProbeKind;
}

const ECHO: ProbeKind = { protocol: "icmp", port: 0 };

/** The probes between this host's containers and the other hosts', in both directions; done once. */
export function investigateLease(host: HostFacts): Promise<Investigation> {
  return host.remember("traced", () =>
    investigate(host, async () => {
      const path = await overlayPath(host);
      const { netlink } = host;
      const [first, second] = echoAddresses({ subnet: path.lease });
      const own = netlink.addresses().some(({ address }) => address === first) ? first : second;
      return [
        tunnelFlow(path, netlink),
        incomingFlow(path, netlink, path.bridge === undefined ? own : path.container, ECHO),
        outgoingFlow(path, netlink, path.peer.own, ECHO),
      ];
    }));
}

/** The probes to an address in another host's subnet, and back from it. */
export function investigatePeer(
  host: HostFacts,
  peer: PeerLease,
  address: IPv4,
  kind = ECHO,
): Promise<Investigation> {
  return investigate(host, async () => {
    const path = await overlayPath(host, peer, address);
    const { netlink } = host;
    return [
      outgoingFlow(path, netlink, address, kind),
      tunnelFlow(path, netlink),
      incomingFlow(
        path,
        netlink,
        path.bridge === undefined ? path.lease.address : path.container,
        ECHO,
      ),
    ];
  });
}

/** The probes from another host to an address of this one's subnet, and back. */
export function investigateLocal(
  host: HostFacts,
  address: IPv4,
  kind = ECHO,
): Promise<Investigation> {
  return investigate(host, async () => {
    const path = await overlayPath(host, undefined, undefined, address);
    const { netlink } = host;
    return [
      tunnelFlow(path, netlink),
      incomingFlow(path, netlink, address, kind),
      outgoingFlow(path, netlink, path.peer.own, ECHO),
    ];
  });
}

/** The probes from another host to an address that this one has itself. */
export function investigateOwn(
  host: HostFacts,
  address: IPv4,
  kind = ECHO,
): Promise<Investigation> {
  return investigate(host, async () => {
    const path = await overlayPath(host);
    return [
      tunnelFlow(path, host.netlink),
      incomingFlow(path, host.netlink, address, kind),
    ];
  });
}

/** The probe from a container of this host to an address outside of the network. */
export function investigateOutside(
  host: HostFacts,
  address: IPv4,
  kind = ECHO,
): Promise<Investigation> {
  return investigate(host, async () => {
    const path = await overlayPath(host);
    return [outgoingFlow(path, host.netlink, address, kind)];
  });
}

async function investigate(
  host: HostFacts,
  plan: () => Promise<readonly (Flow | undefined)[]>,
): Promise<Investigation> {
  const { netlink, signal } = host;
  try {
    const flows = (await plan()).filter((flow) => flow !== undefined);
    await using tracer = new PacketTracer({ signal });
    const names = new RuleNames(new HostCommands({ signal }), undefined);
    const toolCommands = await toolCommandsOf(host);
    const verdicts: Verdict[] = [];
    for (const flow of flows) {
      const result = await tracer.trace(flow.request);
      verdicts.push(await judge(flow, result, { netlink, names, toolCommands }));
    }
    return { verdicts };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof BpfError) return { unavailable: error.message.split("\n")[0]! };
    return { unavailable: reasonNotChecked(error) };
  }
}

/** @returns `undefined` without a plan of the agent */
async function toolCommandsOf(
  host: HostFacts,
): Promise<PlannedChanges["toolCommands"] | undefined> {
  try {
    return (await host.plan()).toolCommands;
  } catch {
    host.signal.throwIfAborted();
    return undefined;
  }
}

/** Way of packets between this host and another one through this host. */
interface HostPath extends OverlayPath {
  readonly peer: OverlayPath["peer"] & {
    /** An address that the other host itself has. */
    readonly own: IPv4;
  };
}

/**
 * @param other the other host. @default one of them
 * @param address in its subnet. @default one that a container there could have
 * @param container of this host. @default an existing one
 * @throws {Unavailable} without a lease, another host, or a device
 */
async function overlayPath(
  host: HostFacts,
  other?: PeerLease,
  address?: IPv4,
  container?: IPv4,
): Promise<HostPath> {
  const { netlink } = host;
  const { network } = await host.config();
  const own = await host.ownLease();
  if (own === undefined) throw new Unavailable("this host holds no lease");
  await host.requireCarrier();
  const peer = other ?? (await host.peers()).find(({ refused }) => refused === undefined);
  if (peer === undefined) throw new Unavailable("there is no other host");
  const { subnet, attributes: { publicIP } } = peer.lease;
  const external = host.external();
  const { tunnel: { device, port, headers = 0 }, ...inspection } = await host.inspection();
  const isDirect = device === undefined || host.routeTo(subnet.address)?.oif === external.index;
  if (device !== undefined && netlink.link(device) === undefined) {
    throw new Unavailable(`there is no device ${device}`);
  }
  const hasPort = !isDirect && port !== undefined &&
    inspection.bypassesFirewall?.(subnet.address) !== true;
  const lease = own.subnet;
  const bridge = containerBridge(netlink, lease)?.link;
  const containers = bridge === undefined
    ? []
    : localContainers(lease, netlink, bridge.index).sort((a, b) => a.address - b.address);
  const local = containers.find((one) => container === undefined || one.address === container);
  const [first, second] = echoAddresses(peer.lease);
  return {
    ...{ network, lease, device: isDirect ? external.name : device, external: external.name },
    peer: {
      ...{ address: address ?? second + 1, publicIP, own: isDirect ? second : first },
    },
    ...(hasPort
      ? {
        tunnel: {
          ...{ port, publicIP: own.attributes.publicIP },
          headers,
        },
      }
      : {}),
    ...(bridge === undefined ? {} : { bridge: bridge.name }),
    container: container ?? local?.address ?? freeAddress(host, lease.address + 2),
    ...(local === undefined ? {} : { local }),
  };
}

/** The first address from one on that the host does not have itself. */
function freeAddress({ netlink }: HostFacts, from: IPv4): IPv4 {
  const own = new Set(netlink.addresses().map(({ address }) => address));
  let address = from;
  while (own.has(address)) address++;
  return address;
}
