import type { Prefix } from "../ip/mod.ts";

/** Desired firewall rules of one network. */
export interface FirewallSpec {
  /**
   * Suffix of this network's chains, see `chainTag`.
   *
   * @default none: flannel's own names
   */
  readonly tag?: string | undefined;
  /** The whole container network, of all hosts. */
  readonly network: Prefix;
  /** This host's part of it. */
  readonly subnet: Prefix;
  /** Masquerade packets that leave the network, or enter it from elsewhere, as this host. */
  readonly ipMasq: boolean;
  /** Accept forwarded packets from and to the network. */
  readonly forward: boolean;
  /** Choose masqueraded source ports at random, if the tool supports it. */
  readonly randomFully: boolean;
  /**
   * Entry points of peers' packets, which Docker's own chains then accept. Docker 28 and newer drops packets to a
   * container from other interfaces than its bridge, and no accept in another chain or table overrides a drop.
   *
   * @default nothing is accepted in Docker's chains
   */
  readonly ingress?: FirewallIngress | undefined;
  /** Drops of packets that containers and peers forge through the tunnel. @default none */
  readonly guard?: TunnelGuard | undefined;
}

/** Drops of forged packets, before any other rule of the host. */
export interface TunnelGuard {
  /**
   * UDP port of every host's tunnel: containers reach it inside the network only.
   *
   * @default none: the tunnel has another protocol
   */
  readonly port?: number;
  /**
   * Name of the overlay device if its packets may have any inner source. Sources in this host's own subnet are
   * dropped.
   *
   * @default none: the backend checks sources itself
   */
  readonly device?: string | undefined;
  /**
   * Returns whether sources outside the network are dropped on the device as well. After a change call
   * {@linkcode Firewall.ensure}.
   */
  readonly isStrict: () => boolean;
}

/** Interfaces on which packets of peers enter this host. */
export interface FirewallIngress {
  /** Name of the overlay device, which delivers decapsulated packets. */
  readonly device?: string | undefined;
  /**
   * Name of the interface that receives peers' packets without encapsulation. It accepts only the sources of
   * {@linkcode FirewallOptions.peers}.
   */
  readonly underlay?: string | undefined;
}

/** Network and subnet of an earlier run, from subnet.env. */
export type PreviousNetwork = Pick<FirewallSpec, "network" | "subnet">;
