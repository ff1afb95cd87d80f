import { formatIPv4, type IPv4, type Prefix } from "../../../mod/ip/mod.ts";
import { info, verbose, warning } from "../../../mod/observe/mod.ts";
import { BpfError } from "../../../mod/sys/bpf/mod.ts";
import {
  type IpsecPolicy,
  isProtected,
  readIpsecPolicies,
  SysError,
} from "../../../mod/sys/mod.ts";
import type { BackendContext } from "../../backend.ts";
import type { UdpDataPath } from "../user/data_path.ts";
import type { PathTraffic } from "../traffic.ts";
import { everyStep } from "./run_all.ts";
import { KernelPath } from "./kernel_path.ts";
import type { KernelRoute, PathSettings } from "./programs/layout.ts";
import { KernelLeftover } from "./stale_state.ts";
import { pinDirectory } from "./pins.ts";
import { pathSettings } from "./programs/settings.ts";
import { isFinal, isRefusalOfPath, type Refusal } from "./refusal.ts";
import { finishesPackets, readUnderlay, requireEthernet } from "./underlay.ts";
import { UnderlayRoutes } from "./underlay_routes.ts";
import { IPPROTO_UDP } from "../../../mod/sys/linux_constants.ts";

/**
 * Member of an agent's record: this host's kernel takes the packets of udp datagrams as another kernel
 * leaves them, with checksums open and super-packets whole.
 */
export const KERNEL_FEATURE = "udp-kernel";

/** So many failures in a row do not pass any more: the agent looks at everything ten seconds after each. */
const MOST_FAILURES = 5;

/** Why a peer's packets go through user space: eBPF programs send and receive without the kernel's IPsec. */
const IPSEC = "an IPsec policy covers the peer";

/** A peer's subnet. */
export interface PeerSubnet {
  readonly subnet: Prefix;
  readonly publicIP: IPv4;
}

/**
 * The kernel's part in a udp network: whether there is one, and for which peers.
 *
 * What cannot be had is no error with `auto`: one line says so, and user space, which runs in any case, carries
 * everything.
 */
export class UdpKernel {
  readonly #context: BackendContext;
  readonly #port: number;
  readonly #device: string;
  #path: KernelPath | undefined;
  /** Set when the kernel has refused for good, and is not asked again. */
  #refused = false;
  /** How many looks at everything in a row have failed, as may pass. */
  #failures = 0;
  #saidFailure: string | undefined;
  /** True when what leaves by the underlay is finished, so that any peer can take it. */
  #finishes = false;
  /** Set while what {@linkcode UdpKernel.sync} brought about is there. */
  #isCarrying = false;
  #behind: Pick<UdpDataPath, "stopCoalescing"> | undefined;
  #saidOfHop: string | undefined;
  /** As last read: {@linkcode UdpKernel.sync} and {@linkcode UdpKernel.reconsider} read them again. */
  #policies: readonly IpsecPolicy[] = [];
  #hasCoveredPeers = false;
  /** By subnet: why its packets go through user space; absent for those that the kernel carries. */
  readonly #reasons = new Map<number, string>();

  /** @param device name of the TUN device */
  constructor(context: BackendContext, port: number, device: string) {
    this.#context = context;
    this.#port = port;
    this.#device = device;
  }

  get #mode(): "auto" | "kernel" | "user" {
    return this.#context.udp?.datapath ?? "user";
  }

  /**
   * Takes over what is in the kernel, or finds out that there can be nothing.
   *
   * @param index of the device
   * @param behind runs behind it
   * @throws {BpfError | SysError | UnsuitableError} when the kernel refuses what `-udp-datapath=kernel`
   * asks for
   */
  open(index: number, behind: Pick<UdpDataPath, "stopCoalescing">): void {
    if (this.#mode === "user") {
      if (!this.#refused) this.#attempt(() => this.#leftover().remove());
      this.#refused = true;
      return;
    }
    this.#behind = behind;
    if (this.#path !== undefined || this.#refused) {
      if (this.#path !== undefined && this.#finishes) behind.stopCoalescing();
      return;
    }
    this.#attempt(() => {
      requireEthernet(this.#context);
      this.#finishes = this.#isFinishing();
      this.#path = KernelPath.open({
        ...this.#place(),
        settings: this.#settings(this.#context.config.network, index),
      });
      // Where peers send finished datagrams, trains of them would be for user space.
      if (this.#finishes) behind.stopCoalescing();
      info(
        `The kernel carries packets of ${this.#device} (eBPF by ` +
          `${this.#path.attachment === "tcx" ? "TCX" : "clsact"}) to ${this.#whom()}; ` +
          "the rest goes through user space",
      );
    });
  }

  /**
   * Brings everything in the kernel to what is asked for.
   *
   * @returns 1 when that, or {@linkcode UdpKernel.open} before, has failed, and may not next time; else 0
   */
  sync(own: Prefix, index: number, peers: Iterable<PeerSubnet>): number {
    const path = this.#path;
    if (path === undefined) return this.#failures > 0 && !this.#refused ? 1 : 0;
    const failed = this.#attempt(() => {
      this.#followUnderlay();
      this.#policies = this.#readPolicies();
      this.#reasons.clear();
      const ways = new UnderlayRoutes(this.#context.netlink);
      path.sync(this.#settings(own, index), Array.from(peers, (peer) => this.#route(peer, ways)));
      this.#failures = 0;
      this.#saidFailure = undefined;
      this.#isCarrying = true;
      this.#tellOfHop();
      this.#reportCoveredPeers();
    });
    // Peers send as this host can receive.
    if (failed > 0) this.#isCarrying &&= path.isAttached;
    return failed;
  }

  /**
   * Adds a peer's subnet, or decides anew how its packets go. Before the first sync() it waits for that.
   *
   * @returns 1 when that has failed, and user space carries them until a sync() does better; else 0
   */
  setPeer(peer: PeerSubnet): number {
    if (!this.#isCarrying) return 0;
    return this.#attempt(() => {
      this.#setRoute(this.#route(peer, new UnderlayRoutes(this.#context.netlink)));
    }, "one of many");
  }

  /**
   * Returns whether IPsec policies have changed since they were last read, so that {@linkcode UdpKernel.reconsider} has
   * work. Cost: less than 1 ms, plus O(policies).
   */
  arePoliciesChanged(): boolean {
    if (!this.#isCarrying) return false;
    try {
      return JSON.stringify(this.#readPolicies()) !== JSON.stringify(this.#policies);
    } catch (error) {
      // A timer calls this method, and an error there would end the agent. sync() reports the same error.
      if (!(error instanceof SysError)) throw error;
      return false;
    }
  }

  /**
   * Decides again how packets go to peers, after routes or IPsec policies of this host may have changed. Writes only
   * changed decisions to the kernel.
   *
   * @returns the error of a write that failed, for {@linkcode UdpKernel.sync} to try again
   */
  reconsider(peers: Iterable<PeerSubnet>): string | undefined {
    if (!this.#isCarrying) return undefined;
    const ways = new UnderlayRoutes(this.#context.netlink);
    try {
      this.#policies = this.#readPolicies();
      for (const peer of peers) {
        const before = this.#reasons.get(peer.subnet.key);
        const route = this.#route(peer, ways);
        if (this.#reasons.get(peer.subnet.key) !== before) this.#setRoute(route);
      }
      this.#reportCoveredPeers();
    } catch (error) {
      return `ways of packets to peers: ${(error as Error).message}`;
    }
    return undefined;
  }

  /** Forgets a peer's subnet. */
  removePeer(subnet: Prefix): void {
    this.#reasons.delete(subnet.key);
    this.#attempt(() => this.#path?.removeRoute(subnet), "one of many");
  }

  /** For this host's record. */
  features(): readonly string[] {
    return this.#isCarrying ? [KERNEL_FEATURE] : [];
  }

  /** `kernel`, or `user` with the reason, for each subnet. */
  paths(peers: Iterable<PeerSubnet>): ReadonlyMap<string, string> {
    return new Map(Array.from(peers, ({ subnet }) => {
      const reason = this.#isCarrying
        ? this.#reasons.get(subnet.key)
        : "this host has no path in the kernel";
      return [String(subnet), reason === undefined ? "kernel" : `user (${reason})`];
    }));
  }

  /** What the kernel has carried; `undefined` when nothing can be. */
  figures(): PathTraffic | undefined {
    return this.#path && { peers: this.#path.traffic(), counters: this.#path.drops() };
  }

  /** What of ours somebody has taken away, or what has changed under it; the kernel has no events for either. */
  damage(): string | undefined {
    if (!this.#isCarrying) return undefined;
    try {
      if (this.#isFinishing() !== this.#finishes) {
        return `what ${this.#context.external.name} does with checksums has changed`;
      }
      return this.#path?.damage();
    } catch (error) {
      // Who asks is a timer, where an error of any kind would end the agent: sync() runs into it as well.
      return `programs in the kernel: ${(error as Error).message}`;
    }
  }

  /**
   * Takes everything out of the kernel.
   *
   * @throws {SysError} when the kernel refuses; it is let go of all the same
   */
  remove(): void {
    this.#isCarrying = false;
    try {
      this.#path?.remove();
    } finally {
      this.close();
    }
  }

  /** Lets go; the kernel carries on. */
  close(): void {
    this.#isCarrying = false;
    this.#path?.[Symbol.dispose]();
    this.#path = undefined;
  }

  #isFinishing(): boolean {
    return finishesPackets(readUnderlay(this.#context.external.name));
  }

  /** `ethtool -K` decides anew whom packets can be sent to that are not finished. */
  #followUnderlay(): void {
    const finishes = this.#isFinishing();
    if (finishes === this.#finishes) return;
    this.#finishes = finishes;
    if (finishes) this.#behind?.stopCoalescing();
    info(`From now on the kernel carries packets of ${this.#device} to ${this.#whom()}`);
  }

  /** Which peers the kernel's packets go to. */
  #whom(): string {
    return this.#finishes
      ? "every peer"
      : `peers that say they do alike, as ${this.#context.external.name} does not finish checksums`;
  }

  /** Says once by which device TCP for containers comes in, or why by none. */
  #tellOfHop(): void {
    const hop = this.#path?.hop;
    const said = hop instanceof Error
      ? `TCP to containers is cut into packets on this host, without a device to join it by: ${hop.message}`
      : hop && `TCP to containers comes in by ${hop}, which joins its segments`;
    if (said === undefined || said === this.#saidOfHop) return;
    this.#saidOfHop = said;
    if (hop instanceof Error) warning(said);
    else info(said);
  }

  #setRoute(route: KernelRoute): void {
    try {
      this.#path?.setRoute(route);
    } catch (error) {
      this.#reasons.set(route.subnet.key, "the kernel has not taken its route");
      throw error;
    }
    verbose(
      1,
      `${route.subnet} via ${formatIPv4(route.publicIP)} goes through ` +
        `${route.carried ? "the kernel" : "user space"}`,
    );
  }

  #route(peer: PeerSubnet, ways: UnderlayRoutes): KernelRoute {
    const reason = this.#reason(peer.publicIP, ways);
    if (reason === undefined) this.#reasons.delete(peer.subnet.key);
    else this.#reasons.set(peer.subnet.key, reason);
    return { ...peer, carried: reason === undefined };
  }

  /** Why a peer's packets go through user space; `undefined` when the kernel carries them. */
  #reason(publicIP: IPv4, ways: UnderlayRoutes): string | undefined {
    const { external, featuresOf } = this.#context;
    if (!this.#finishes && featuresOf?.(publicIP).includes(KERNEL_FEATURE) !== true) {
      return "the peer does not say that its kernel takes them";
    }
    if (ways.interfaceTo(publicIP) !== external.index) return `no route to it by ${external.name}`;
    return this.#isCovered(publicIP) ? IPSEC : undefined;
  }

  /** Returns whether IPsec would transform or block datagrams to or from a peer. Cost: O(policies). */
  #isCovered(peer: IPv4): boolean {
    const { address } = this.#context.external;
    const ports = { sourcePort: this.#port, destinationPort: this.#port };
    const sent = { direction: "out", source: address, destination: peer } as const;
    const received = { direction: "in", source: peer, destination: address } as const;
    return [sent, received].some((packet) =>
      isProtected(this.#policies, { ...packet, ...ports, protocol: IPPROTO_UDP })
    );
  }

  #readPolicies(): IpsecPolicy[] {
    return readIpsecPolicies({ netns: this.#context.netns });
  }

  #reportCoveredPeers(): void {
    const hasCovered = [...this.#reasons.values()].includes(IPSEC);
    if (hasCovered === this.#hasCoveredPeers) return;
    this.#hasCoveredPeers = hasCovered;
    info(
      hasCovered
        ? "IPsec policies cover peers: their packets go through user space, since eBPF programs bypass IPsec"
        : "IPsec policies cover no peer any more: the kernel carries all packets that it can",
    );
  }

  #settings(own: Prefix, index: number): PathSettings {
    return pathSettings(this.#context, { device: index, port: this.#port, own });
  }

  #place() {
    return {
      netlink: this.#context.netlink,
      directory: pinDirectory(this.#device),
      device: this.#device,
    };
  }

  #leftover(): KernelLeftover {
    const { netlink, external } = this.#context;
    return new KernelLeftover(netlink, this.#device, [external.name]);
  }

  /**
   * Runs a step. What the kernel refuses for good ends its part, and with `kernel` the network; what may pass
   * ends it when it does not.
   *
   * @param extent a failure of what concerns one peer does not count: there are as many as peers
   * @returns 1 when the step is to be tried again; else 0
   */
  #attempt(step: () => void, extent: "all" | "one of many" = "all"): number {
    try {
      step();
      return 0;
    } catch (error) {
      if (!isRefusalOfPath(error)) throw error;
      if (error instanceof BpfError) verbose(2, error.log);
      if (this.#mode === "kernel") throw error;
      if (!isFinal(error) && this.#mode === "auto") {
        if (extent === "all") this.#failures++;
        if (this.#failures < MOST_FAILURES) {
          this.#tellFailure(`udp in the kernel: ${error.message}; it will be tried again`);
          return 1;
        }
      }
      this.#refuse(error);
      return 0;
    }
  }

  /** Once for all peers, and for as long as nothing else happens. */
  #tellFailure(text: string): void {
    if (text !== this.#saidFailure) warning(text);
    this.#saidFailure = text;
  }

  /** Ends the kernel's part for good. */
  #refuse(why: Refusal): void {
    if (this.#mode === "auto") warning(`udp stays in user space: ${why.message}`);
    this.#refused = true;
    try {
      everyStep([
        // By its own descriptors: pins that lead to it may be gone.
        () => this.remove(),
        // What an earlier agent left as well: this one could not look after it.
        () => this.#leftover().remove(),
      ]);
    } catch (second) {
      if (!isRefusalOfPath(second)) throw second;
      warning(`What is left of udp in the kernel: ${second.message}`);
    }
  }
}
