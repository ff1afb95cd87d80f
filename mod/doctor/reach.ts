import type { IPv4 } from "../ip/mod.ts";
import {
  type EchoOptions,
  type EchoOutcome,
  type Failure,
  type PortOutcome,
  type Prober,
  probeUdpPort,
} from "../probe/mod.ts";
import type { HostFacts } from "./host_facts.ts";
import { echoAddresses, type PeerLease } from "./peers.ts";

/** Milliseconds to wait for an ICMP echo reply. */
const TIMEOUT = 1_000;

/** Replies of a peer. */
export interface PeerReach {
  readonly peer: PeerLease;
  /** The address of its subnet that answered, and the round trip in milliseconds. */
  readonly overlay: { readonly address: number; readonly rtt: number } | undefined;
  /** Outcome of the echo request through the network, where none was answered. */
  readonly failure: Failure | undefined;
  /** True when its public address answers; probed where the network does not. */
  readonly isUp: boolean;
  /** Outcome of a probe of the tunnel's port; probed likewise. */
  readonly port: PortOutcome | undefined;
}

/**
 * Sends ICMP echo requests through the network to every peer whose packets are carried; where none comes back,
 * probes the public address and the tunnel's port.
 *
 * @throws {Unavailable} when the backend carries no packets
 * @throws {SysError} EPERM without the privilege to send ICMP echo requests
 */
export async function reachPeers(host: HostFacts): Promise<readonly PeerReach[]> {
  return await host.remember("reach", async () => {
    await host.requireCarrier();
    return await reach(host, (await host.peers()).filter(({ refused }) => refused === undefined));
  });
}

/** As {@linkcode reachPeers}, for some of the peers. */
export async function reach(
  host: HostFacts,
  peers: readonly PeerLease[],
): Promise<readonly PeerReach[]> {
  if (peers.length === 0) return [];
  const prober = await host.prober();
  const options = { timeout: TIMEOUT, signal: host.signal };
  const overlay = new Map<PeerLease, NonNullable<PeerReach["overlay"]>>();
  const failures = new Map<PeerLease, Failure>();
  // The device's address, and that of Docker's bridge: host-gw has no device.
  await Promise.all(peers.map(async (peer) => {
    const { address, outcome } = await firstReply(prober, echoAddresses(peer.lease), options);
    if (outcome.type === "reply") overlay.set(peer, { address, rtt: outcome.rtt });
    else failures.set(peer, outcome);
  }));
  const lost = peers.filter((peer) => !overlay.has(peer));
  const publicIPs = lost.map(({ lease }) => lease.attributes.publicIP);
  const { port } = await host.tunnel();
  const [results, ports] = lost.length === 0 ? [[], []] : await Promise.all([
    prober.echo(publicIPs, options),
    port === undefined ? [] : probeUdpPort(publicIPs, port, options),
  ]);
  return peers.map((peer) => {
    const at = lost.indexOf(peer);
    const answer = ports[at];
    return {
      peer,
      overlay: overlay.get(peer),
      failure: overlay.has(peer) ? undefined : failures.get(peer),
      // A closed or rejected port is an answer of the host.
      isUp: at < 0 || results[at]?.type === "reply" || answer?.type === "closed" ||
        answer?.type === "rejected",
      port: answer,
    };
  });
}

/** Returns why packets of the tunnel do not get to a host that is up. @param carrier `UDP port 8472` */
export function whatIsWrong({ port: answer, failure }: PeerReach, carrier: string): string {
  switch (answer?.type) {
    case "closed":
      return `nobody listens on ${carrier} there`;
    case "rejected":
      return `${carrier} is refused (${answer.words})`;
    case "not-sent":
      return `this host does not send to ${carrier} there (${answer.error.message})`;
    case "unreachable":
      return answer.words;
  }
  if (failure?.type === "not-sent") return `this host does not send (${failure.error.message})`;
  return `it answers at its public address; ${carrier} is dropped on the way, there or back`;
}

interface AddressEcho {
  readonly address: IPv4;
  readonly outcome: EchoOutcome;
}

/** Sends an ICMP echo request to each address. @returns the first reply; without any, the outcome of the first echo request */
async function firstReply(
  prober: Prober,
  addresses: readonly [IPv4, ...IPv4[]],
  options: EchoOptions,
): Promise<AddressEcho> {
  const results = addresses.map(async (address): Promise<AddressEcho> => {
    const [outcome] = await prober.echo([address], options);
    return { address, outcome: outcome! };
  });
  const replies = results.map(async (echo) => {
    const found = await echo;
    return found.outcome.type === "reply" ? found : await new Promise<never>(() => {});
  });
  return await Promise.race([...replies, Promise.all(results).then(([first]) => first!)]);
}
