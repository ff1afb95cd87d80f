import {
  type ContainerBridge,
  containerBridge,
  findContainer,
  firstAddresses,
  overlaySource,
} from "../agent/host/containers.ts";
import type { IPv4, Prefix } from "../ip/mod.ts";
import { askContainers, type ContainerAnswer, ContainerSide, Prober } from "../probe/mod.ts";
import { SysError } from "../sys/mod.ts";
import { Unavailable } from "./check.ts";
import type { HostFacts } from "./host_facts.ts";
import type { PeerLease } from "./peers.ts";
import { reachPeers } from "./reach.ts";

/** Largest number of hosts whose containers are probed; further hosts rarely differ. */
const MOST_PROBED = 8;
/** Milliseconds to wait for the replies to each kind of echo. */
const TIMEOUT_MS = 300;
/** Milliseconds that other hosts' agents have to answer; they wait up to half a second themselves. */
const ANSWER_MS = 1_200;
/** Addresses to try for a container in the subnet of a host without this agent. */
const MOST_GUESSED = 8;
/** Addresses to choose a free one from, in place of a container. */
const MOST_CANDIDATES = 4;

/** Where packets of containers are dropped. */
export type Fault =
  /** On this host, from its bridge to the overlay; or the answers from there to the bridge. */
  | "here-out"
  | "here-in"
  /** On the other host, between overlay and bridge. */
  | "there"
  /** On both. */
  | "both"
  /** Only where both ends are containers: each end reaches the other host. */
  | "pair";

/** How containers here and there reach each other. */
export interface ContainerPath {
  readonly peer: PeerLease;
  /** An address of the host itself, which answers. */
  readonly host: IPv4;
  /** A container there that answers its own host. */
  readonly container: IPv4 | undefined;
  /** Why there is none. */
  readonly missing: string | undefined;
  /** Where echo requests from this side to the container, or to its host without a container, are dropped. */
  readonly fault: Fault | undefined;
  /** Whether the other host reaches this side; `undefined`: it was not asked, or has not answered. */
  readonly isReachedBack: boolean | undefined;
}

/** Result of {@linkcode probeContainerPaths}. */
export interface ContainerPaths {
  /** Source address of the echo requests. */
  readonly from: IPv4;
  /** Kind of that address: a container, a free address on the bridge, or this host's own address. */
  readonly side: "container" | "stand-in" | "host";
  /** Name of the bridge; absent where none has an address of the lease. */
  readonly bridge: string | undefined;
  /** Why the side is this host's own address, and not on a bridge. */
  readonly sideMissing: string | undefined;
  readonly paths: readonly ContainerPath[];
  /** Hosts that answer and were not probed. */
  readonly omitted: number;
}

/**
 * Sends echo requests from the containers' side of this host to containers of other hosts, and asks those hosts
 * to send requests back.
 *
 * @returns `undefined` when other hosts are up and none has a bridge
 * @throws {Unavailable} when there is nothing to send to, or nothing to send from
 * @throws {SysError} EPERM without the privilege to send ICMP echo requests
 */
export async function probeContainerPaths(host: HostFacts): Promise<ContainerPaths | undefined> {
  const reached = await reachPeers(host);
  const answering = reached.flatMap(({ peer, overlay }) =>
    overlay === undefined ? [] : [{ peer, address: overlay.address }]
  );
  if (answering.length === 0) {
    // Without a tunnel the query goes to the host's bridge address, which is missing where Docker does not run.
    const isUp = reached.some(({ isUp }) => isUp) && (await host.tunnel()).protocol === undefined;
    if (isUp) return undefined;
    throw new Unavailable("no peer answers");
  }
  const own = (await host.ownLease())!.subnet;
  const source = overlaySource(host.netlink, own);
  if (source === undefined) throw new Unavailable(`this host has no address in ${own}`);
  await using stack = new AsyncDisposableStack();
  const prober = stack.use(Prober.open({ source }));
  const probed = answering.slice(0, MOST_PROBED);
  const bridge = containerBridge(host.netlink, own);
  const { side, container, missing: sideMissing } = await openSide(host, bridge);
  if (side !== undefined) stack.use(side);
  const from = side?.address ?? container ?? source;

  const { signal } = host;
  const target = from === source ? undefined : from;
  // Hosts with upstream flannel have no record and do not answer.
  const asked = probed.filter(({ peer }) => peer.agent !== undefined);
  const answered = await askContainers(asked.map(({ address }) => ({ address, target })), {
    ...{ source, timeout: ANSWER_MS, signal },
  });
  const answers = probed.map((one) => answered[asked.indexOf(one)]);
  const found = await Promise.all(
    probed.map(({ peer }, i) => containerOf(peer.lease.subnet, answers[i], prober, signal)),
  );
  const targets = probed.map(({ address }, i) => found[i]!.container ?? address);
  const echo = async (addresses: readonly IPv4[]) => {
    if (side !== undefined) return await side.echo(addresses, TIMEOUT_MS, signal);
    const outcomes = await prober.echo(addresses, { timeout: TIMEOUT_MS, signal });
    return outcomes.map(({ type }) => ({ isAnswered: type === "reply", isBack: false }));
  };
  const results = await echo(targets);
  const failed = probed.keys().filter((i) => !results[i]!.isAnswered).toArray();
  // Locates the drop: one probe without the other host's bridge, one without this host's bridge.
  const [near, far] = failed.length === 0 ? [[], []] : await Promise.all([
    side === undefined ? [] : echo(failed.map((i) => probed[i]!.address)),
    prober.echo(failed.map((i) => targets[i]!), { timeout: TIMEOUT_MS, signal }),
  ]);
  const faults = new Map(failed.map((i, at): [number, Fault] => {
    if (side === undefined) return [i, "there"];
    const isFar = far[at]!.type === "reply";
    if (near[at]!.isAnswered) return [i, isFar ? "pair" : "there"];
    return [i, !isFar ? "both" : near[at]!.isBack ? "here-in" : "here-out"];
  }));
  return {
    ...{ from, sideMissing, bridge: bridge?.link.name, omitted: answering.length - probed.length },
    side: side === undefined ? "host" : side.isStandIn ? "stand-in" : "container",
    paths: probed.map(({ peer, address }, i) => ({
      ...{ peer, host: address, ...found[i]!, fault: faults.get(i) },
      isReachedBack: reachedBack(answers[i]),
    })),
  };
}

function reachedBack(answer: ContainerAnswer | undefined): boolean | undefined {
  if (answer?.target === "answered") return true;
  return answer?.target === "silent" ? false : undefined;
}

interface OpenedSide {
  readonly side?: ContainerSide;
  readonly container?: IPv4;
  readonly missing: string | undefined;
}

/** Opens the containers' side of this host, with the address of a container if there is one. */
async function openSide(
  host: HostFacts,
  bridge: ContainerBridge | undefined,
): Promise<OpenedSide> {
  if (bridge === undefined) return { missing: "no bridge here has an address of the lease" };
  const { netlink, signal } = host;
  const container = await findContainer(netlink, bridge, await host.prober(), signal);
  const { device } = await host.tunnel();
  const tunnel = device === undefined ? undefined : netlink.link(device)?.index;
  try {
    const side = await ContainerSide.open({
      ...{ netlink, bridge: bridge.link, container, signal },
      candidates: lastAddresses(bridge, new Set(netlink.neighbours().map((one) => one.address))),
      overlay: [...tunnel === undefined ? [] : [tunnel], host.external().index],
    });
    if (side !== undefined) return { side, missing: undefined };
    return { missing: `no address on ${bridge.link.name} is free` };
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const missing = `cannot add a port to ${bridge.link.name}: ${error.message}`;
    return container === undefined ? { missing } : { container, missing };
  }
}

/** Returns the addresses that Docker assigns last, without those that are known to be in use. */
function lastAddresses({ subnet, address }: ContainerBridge, known: ReadonlySet<IPv4>): IPv4[] {
  const count = Math.min(2 * MOST_CANDIDATES + 1, Math.max(0, subnet.size - 2));
  return Array.from({ length: count }, (_, i) => subnet.last - 1 - i)
    .filter((one) => one !== address && !known.has(one)).slice(0, MOST_CANDIDATES);
}

/** Finds a container of another host: the one that its agent names, or any that answers. */
async function containerOf(
  subnet: Prefix,
  answer: ContainerAnswer | undefined,
  prober: Prober,
  signal: AbortSignal,
): Promise<Pick<ContainerPath, "container" | "missing">> {
  const none = (missing: string) => ({ container: undefined, missing });
  const { containers, container } = answer ?? {};
  if (container !== undefined && subnet.contains(container)) {
    return { container, missing: undefined };
  }
  if (containers === "no-bridge") return none("no bridge there has an address of the lease");
  if (containers === "none") return none("no container runs there");
  if (containers === "silent") {
    return none("no container there answers an ICMP echo request of its own host");
  }
  // The first is the bridge's.
  const guessed = firstAddresses(subnet, MOST_GUESSED + 1).slice(1);
  const outcomes = await prober.echo(guessed, { timeout: TIMEOUT_MS, signal });
  const at = outcomes.findIndex(({ type }) => type === "reply");
  if (at >= 0) return { container: guessed[at], missing: undefined };
  return none("no agent answers there, and no container is known");
}
