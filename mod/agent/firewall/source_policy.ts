import type { SourceCheck } from "../../../backends/backend.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { counted } from "../core/counted.ts";

/**
 * Feature of a node record: the host gives packets that enter the network by it an address of the network
 * (`-ip-masq`, with its rules in place), so that none with another source leaves it for a peer.
 */
export const MASQUERADE_FEATURE = "masquerade";

/** Whether inner sources outside the network are refused, and why. */
export interface SourceVerdict {
  readonly isStrict: boolean;
  /** `all 3 peers masquerade`; an option where that decides. */
  readonly reason: string;
}

/** The verdict where the firewall would have to refuse and has no rule of flanneld. */
export const NO_GUARD: SourceVerdict = {
  isStrict: false,
  reason: "no firewall rules of flanneld look at them",
};

/**
 * Decides whether packets from peers may have sources outside the network: no, once every host with a lease
 * advertises {@linkcode MASQUERADE_FEATURE}. Upstream flannel's hosts have no node record, so one of them is enough
 * for yes.
 *
 * Cost: O(changes), and O(1) for the verdict.
 */
export class SourcePolicy {
  /** The verdict in force: the owner sets it, once it has carried it to the data path or is about to. */
  isStrict = false;
  readonly #featuresOf: (publicIP: IPv4) => readonly string[];
  /** How many leases a peer has. */
  readonly #leases = new Map<IPv4, number>();
  /** Peers that may send any source. */
  readonly #open = new Set<IPv4>();

  /** @param featuresOf a host's, by its node record */
  constructor(featuresOf: (publicIP: IPv4) => readonly string[]) {
    this.#featuresOf = featuresOf;
  }

  /** Takes these peers in place of those before. @param peers public IPs, one a lease */
  replace(peers: Iterable<IPv4>): void {
    this.#leases.clear();
    this.#open.clear();
    this.change([], peers);
  }

  /** Takes leases out and in. @param removed public IPs, one a lease */
  change(removed: Iterable<IPv4>, added: Iterable<IPv4>): void {
    for (const peer of removed) this.#count(peer, -1);
    for (const peer of added) this.#count(peer, 1);
  }

  /** Takes in that hosts advertise other features than before. */
  featuresChanged(hosts: Iterable<IPv4>): void {
    for (const host of hosts) if (this.#leases.has(host)) this.#judge(host);
  }

  /** The verdict that the peers, or an option, ask for at this moment. */
  verdict(check: SourceCheck | undefined): SourceVerdict {
    if (check === undefined) return { isStrict: false, reason: "packets are not encapsulated" };
    if (check.fixed !== undefined) return check.fixed;
    const [first] = this.#open;
    const peers = this.#leases.size;
    if (first === undefined) {
      const reason = peers === 0 ? "no peer yet" : `all of ${counted(peers, "peer")} masquerade`;
      return { isStrict: true, reason };
    }
    const more = this.#open.size - 1;
    const who = more === 0 ? `${formatIPv4(first)} of` : `${formatIPv4(first)} and ${more} more of`;
    const verb = more === 0 ? "does" : "do";
    return {
      isStrict: false,
      reason: `${who} ${counted(peers, "peer")} ${verb} not advertise masquerading`,
    };
  }

  #count(peer: IPv4, step: 1 | -1): void {
    const count = (this.#leases.get(peer) ?? 0) + step;
    if (count > 0) {
      this.#leases.set(peer, count);
      this.#judge(peer);
    } else {
      this.#leases.delete(peer);
      this.#open.delete(peer);
    }
  }

  #judge(peer: IPv4): void {
    if (this.#featuresOf(peer).includes(MASQUERADE_FEATURE)) this.#open.delete(peer);
    else this.#open.add(peer);
  }
}
