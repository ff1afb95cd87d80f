import type { SourceCheck } from "../../../backends/backend.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import { counted } from "../../text/mod.ts";

/**
 * Feature of a node record: the host masquerades packets that enter the network (`-ip-masq`, with its rules
 * in place), so that it sends peers no packet with a source outside the network.
 */
export const MASQUERADE_FEATURE = "masquerade";

/** Whether inner sources outside the network are refused, and why. */
export interface SourceVerdict {
  readonly isStrict: boolean;
  /** `all 3 peers masquerade`; an option where that decides. */
  readonly reason: string;
}

/** The verdict without the firewall rules that would refuse such packets. */
export const NO_GUARD: SourceVerdict = {
  isStrict: false,
  reason: "no firewall rules of flanneld check them",
};

/**
 * Decides whether packets from peers may have sources outside the network: no, once every host with a lease
 * advertises {@linkcode MASQUERADE_FEATURE}. A single host of upstream flannel, which has no node record, makes it yes.
 * Peers that wrote their lease without credentials are not asked.
 *
 * Cost: O(changes), and O(1) for the verdict.
 */
export class SourcePolicy {
  /** The verdict in force; the owner sets it together with the data path. */
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

  /** Replaces all peers. @param peers public IPs, one per lease */
  replace(peers: Iterable<IPv4>): void {
    this.#leases.clear();
    this.#open.clear();
    this.change([], peers);
  }

  /** Removes and adds leases. @param removed public IPs, one per lease */
  change(removed: Iterable<IPv4>, added: Iterable<IPv4>): void {
    for (const peer of removed) this.#count(peer, -1);
    for (const peer of added) this.#count(peer, 1);
  }

  /** Applies changed features of hosts. */
  featuresChanged(hosts: Iterable<IPv4>): void {
    for (const host of hosts) if (this.#leases.has(host)) this.#judge(host);
  }

  /** Returns the verdict of the peers, or of an option, at this moment. */
  verdict(check: SourceCheck | undefined): SourceVerdict {
    if (check === undefined) return { isStrict: false, reason: "packets are not encapsulated" };
    if (check.fixed !== undefined) return check.fixed;
    const [first] = this.#open;
    const peers = this.#leases.size;
    if (first === undefined) {
      const reason = peers === 0
        ? "no peer with credentials of the store"
        : `all of ${counted(peers, "peer")} masquerade`;
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
