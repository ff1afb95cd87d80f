import type { Prefix } from "../ip/mod.ts";

/** What the firewall shall do for one network. */
export interface FirewallSpec {
  /**
   * Tells the chains of this network from those of others on the host, see `chainTag`.
   *
   * @default none: flannel's own names
   */
  readonly tag?: string | undefined;
  /** The whole container network, of all hosts. */
  readonly network: Prefix;
  /** This host's part of it. */
  readonly subnet: Prefix;
  /** Give packets that leave the network, or enter it from elsewhere, this host's address. */
  readonly ipMasq: boolean;
  /** Accept forwarded packets from and to the network. */
  readonly forward: boolean;
  /** Choose masqueraded source ports at random, where the tool can ask the kernel for it. */
  readonly randomFully: boolean;
  /**
   * How the peers' packets arrive: accepted in Docker's own chains, where Docker has any. Docker 28 and newer
   * drops what reaches a container from another interface than its bridge, and no accept in another chain or
   * table overrides a drop.
   *
   * @default nothing is accepted in Docker's chains
   */
  readonly ingress?: FirewallIngress | undefined;
  /** What keeps containers and peers from forging packets by way of the tunnel. @default nothing */
  readonly guard?: TunnelGuard | undefined;
}

/** Drops of forged packets, before any other rule of the host. */
export interface TunnelGuard {
  /** UDP port of every host's tunnel: containers reach it inside the network only. */
  readonly port: number;
  /**
   * Name of the overlay device, where its packets may carry any inner source: dropped are those of this host's
   * own subnet.
   *
   * @default none: the backend checks sources itself
   */
  readonly device?: string | undefined;
  /**
   * Returns whether sources outside the network are dropped on the device, too. After it has changed,
   * `Firewall.ensure()` brings the rules to it.
   */
  readonly isStrict: () => boolean;
}

/** Where packets of peers enter this host. */
export interface FirewallIngress {
  /** Name of the overlay device that decapsulated packets come out of. */
  readonly device?: string | undefined;
  /**
   * Name of the interface that peers' packets arrive on without encapsulation. Accepted there are the sources
   * of `FirewallOptions.peers` alone.
   */
  readonly underlay?: string | undefined;
}

/** Network and subnet of an earlier run, as subnet.env tells them. */
export type PreviousNetwork = Pick<FirewallSpec, "network" | "subnet">;
