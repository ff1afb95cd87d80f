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
import { runAll } from "./run_all.ts";
import { KernelPath } from "./kernel_path.ts";
import type { KernelRoute, PathSettings } from "./programs/layout.ts";
import { StaleKernelPath } from "./stale_state.ts";
import { pinDirectory } from "./pins.ts";
import { pathSettings } from "./programs/settings.ts";
import { isFinal, isInterfaceGone, isRefusalOfPath, type Refusal } from "./refusal.ts";

import { completesOffloads, readUnderlay, requireEthernet } from "./underlay.ts";
import { UnderlayRoutes } from "./underlay_routes.ts";
import { IPPROTO_UDP } from "../../../mod/sys/linux_constants.ts";

/**
 * Feature in a node record: this host's kernel decapsulates udp datagrams, so it accepts packets with partial
 * checksums, and GSO packets.
 */
export const KERNEL_FEATURE = "udp-kernel";

/** Consecutive failures of sync() that end the kernel path; the agent calls it ten seconds after each. */
const MAX_FAILURES = 5;

/** Reason for user space: the peer's kernel may not decapsulate. */
const NOT_ADVERTISED = `the peer does not advertise ${KERNEL_FEATURE}`;

/** Reason for user space: packets that eBPF programs send and receive bypass the kernel's IPsec. */
const IPSEC = "an IPsec policy covers the peer";

/** A peer's subnet. */
export interface PeerSubnet {
  readonly subnet: Prefix;
  readonly publicIP: IPv4;
}

/**
 * Decides for a udp network whether the kernel carries packets, and for which peers.
 *
 * With `auto` a refusal by the kernel is no error: a warning reports it, and user space, which runs in any case,
 * carries all packets.
 */
export class UdpKernel {
  readonly #context: BackendContext;
  readonly #port: number;
  readonly #device: string;
  #path: KernelPath | undefined;
  /** The kernel has refused for good: no further attempt is made. */
  #refused = false;
  /** Consecutive transient failures of {@linkcode UdpKernel.open} and {@linkcode UdpKernel.sync}. */
  #failures = 0;
  #loggedFailure: string | undefined;
  /** The external interface completes offloads, so that any peer can read its packets. */
  #completesOffloads = false;
  /** {@linkcode UdpKernel.sync} has succeeded, and its programs are attached. */
  #isCarrying = false;
  #userPath: Pick<UdpDataPath, "disableGro"> | undefined;
  #loggedGroPath: string | undefined;
  /** IPsec policies at the last {@linkcode UdpKernel.sync} or {@linkcode UdpKernel.updatePolicies}. */
  #policies: readonly IpsecPolicy[] = [];
  #hasCoveredPeers = false;
  /** Reason why a subnet's packets go through user space, by its key; absent if the kernel carries them. */
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
   * Opens the kernel path, or adopts that of an earlier agent. With `-udp-datapath=user` removes it.
   *
   * @param index of the device
   * @param userPath the user-space path of the same device
   * @throws {BpfError | SysError | UnsuitableError} with `-udp-datapath=kernel`, when the kernel refuses
   */
  open(index: number, userPath: Pick<UdpDataPath, "disableGro">): void {
    if (this.#mode === "user") {
      if (!this.#refused) this.#attempt(() => this.#staleState().remove());
      this.#refused = true;
      return;
    }
    this.#userPath = userPath;
    if (this.#path !== undefined || this.#refused) {
      if (this.#path !== undefined && this.#completesOffloads) userPath.disableGro();
      return;
    }
    this.#attempt(() => {
      requireEthernet(this.#context);
      this.#completesOffloads = this.#readCompletesOffloads();
      this.#path = KernelPath.open({
        netlink: this.#context.netlink,
        directory: pinDirectory(this.#device),
        device: this.#device,
        settings: this.#settings(this.#context.config.network, index),
      });
      // The kernel path carries single datagrams, and passes coalesced ones to user space.
      if (this.#completesOffloads) userPath.disableGro();
      info(
        `the kernel carries packets of ${this.#device} (eBPF by ` +
          `${this.#path.attachment === "tcx" ? "TCX" : "clsact"}) to ${this.#carriedPeers()}; ` +
          "user space carries the others",
      );
    });
  }

  /**
   * Reconciles programs and maps with this host's lease and the peers.
   *
   * @returns 1 when this call, or {@linkcode UdpKernel.open} before, had a transient failure; else 0
   */
  sync(own: Prefix, index: number, peers: Iterable<PeerSubnet>): number {
    const path = this.#path;
    if (path === undefined) return this.#failures > 0 && !this.#refused ? 1 : 0;
    const failed = this.#attempt(() => {
      this.#followUnderlay();
      this.#policies = this.#readPolicies();
      this.#reasons.clear();
      const underlay = new UnderlayRoutes(this.#context.netlink);
      path.sync(
        this.#settings(own, index),
        Array.from(peers, (peer) => this.#route(peer, underlay)),
      );
      this.#failures = 0;
      this.#loggedFailure = undefined;
      this.#isCarrying = true;
      this.#logGroPath();
      this.#reportCoveredPeers();
    });
    // The node record must not advertise what this host no longer receives.
    if (failed > 0) this.#isCarrying &&= path.isAttached;
    return failed;
  }

  /**
   * Adds a peer's subnet, or decides its path again. Does nothing before the first sync().
   *
   * @returns 1 when the kernel refused: user space carries the packets until the next sync(); else 0
   */
  setPeer(peer: PeerSubnet): number {
    if (!this.#isCarrying) return 0;
    return this.#attempt(() => {
      this.#setRoute(this.#route(peer, new UnderlayRoutes(this.#context.netlink)));
    }, "one of many");
  }

  /**
   * Reads the IPsec policies again. When they have changed, the caller must call
   * {@linkcode UdpKernel.reconsider}. Cost: less than 1 ms, plus O(policies).
   *
   * @returns whether they have changed since they were last read
   */
  updatePolicies(): boolean {
    if (!this.#isCarrying) return false;
    try {
      const before = this.#policies;
      this.#policies = this.#readPolicies();
      return JSON.stringify(this.#policies) !== JSON.stringify(before);
    } catch (error) {
      // A timer calls this method, and an error there would end the agent. sync() reports the same error.
      if (!(error instanceof SysError)) throw error;
      return false;
    }
  }

  /**
   * Decides again which path each peer's packets take, after routes of this host may have changed, or the
   * policies that {@linkcode UdpKernel.updatePolicies} has read.
   * Writes only changed decisions to the kernel.
   *
   * @returns the error of a write that failed, for {@linkcode UdpKernel.sync} to try again
   */
  reconsider(peers: Iterable<PeerSubnet>): string | undefined {
    if (!this.#isCarrying) return undefined;
    const underlay = new UnderlayRoutes(this.#context.netlink);
    try {
      for (const peer of peers) {
        const before = this.#reasons.get(peer.subnet.key);
        const route = this.#route(peer, underlay);
        if (this.#reasons.get(peer.subnet.key) !== before) this.#setRoute(route);
      }
      this.#reportCoveredPeers();
    } catch (error) {
      return `paths to peers: ${(error as Error).message}`;
    }
    return undefined;
  }

  /** Forgets a peer's subnet. */
  removePeer(subnet: Prefix): void {
    this.#reasons.delete(subnet.key);
    this.#attempt(() => this.#path?.removeRoute(subnet), "one of many");
  }

  /** Features for this host's node record. */
  features(): readonly string[] {
    return this.#isCarrying ? [KERNEL_FEATURE] : [];
  }

  /** Path of each subnet's packets: `kernel`, or `user` with the reason. */
  paths(peers: Iterable<PeerSubnet>): ReadonlyMap<string, string> {
    return new Map(Array.from(peers, ({ subnet }) => {
      const reason = this.#isCarrying
        ? this.#reasons.get(subnet.key)
        : "this host has no kernel path";
      return [String(subnet), reason === undefined ? "kernel" : `user (${reason})`];
    }));
  }

  /** Traffic that the kernel has carried; `undefined` without a kernel path. */
  pathTraffic(): PathTraffic | undefined {
    return this.#path && { peers: this.#path.traffic(), counters: this.#path.drops() };
  }

  /**
   * Describes an object of the kernel path that was removed or changed, or a change of the external interface's
   * offloads. The kernel has no events for either.
   */
  damage(): string | undefined {
    if (!this.#isCarrying) return undefined;
    try {
      if (this.#readCompletesOffloads() !== this.#completesOffloads) {
        return `checksum offload of ${this.#context.external.name} changed`;
      }
      return this.#path?.damage();
    } catch (error) {
      if (isInterfaceGone(error)) return undefined;
      // A timer calls this method, and an error there would end the agent. sync() reports the same error.
      return `programs in the kernel: ${(error as Error).message}`;
    }
  }

  /**
   * Removes the kernel path and closes it. Removes as well what {@linkcode UdpKernel.close} has left in the kernel, or
   * an earlier agent whose objects this one has not adopted.
   *
   * @throws {SysError} when the kernel refuses to remove an object; the path is closed all the same
   */
  remove(): void {
    this.#isCarrying = false;
    try {
      runAll([
        // By its own descriptors, because its pins may be gone.
        () => this.#path?.remove(),
        () => this.#staleState().remove(),
      ]);
    } finally {
      this.close();
    }
  }

  /** Closes the kernel path; the kernel goes on carrying packets. */
  close(): void {
    this.#isCarrying = false;
    this.#path?.[Symbol.dispose]();
    this.#path = undefined;
  }

  #readCompletesOffloads(): boolean {
    return completesOffloads(readUnderlay(this.#context.external.name));
  }

  /** Follows a change of the external interface's offloads (`ethtool -K`). */
  #followUnderlay(): void {
    const completesOffloads = this.#readCompletesOffloads();
    if (completesOffloads === this.#completesOffloads) return;
    this.#completesOffloads = completesOffloads;
    if (completesOffloads) this.#userPath?.disableGro();
    info(`the kernel now carries packets of ${this.#device} to ${this.#carriedPeers()}`);
  }

  /** Describes the peers that the kernel carries. */
  #carriedPeers(): string {
    return this.#completesOffloads
      ? "every peer"
      : `peers that advertise ${KERNEL_FEATURE}, because ${this.#context.external.name} does not complete ` +
        "checksum offload";
  }

  /** Logs a change of the GRO path: its device, or the reason why it is closed. */
  #logGroPath(): void {
    const groPath = this.#path?.groPath;
    const line = groPath instanceof Error
      ? `the GRO path is closed, so TCP to containers is slower: ${groPath.message}`
      : groPath && `TCP to containers takes the GRO path by ${groPath}`;
    if (line === undefined || line === this.#loggedGroPath) return;
    this.#loggedGroPath = line;
    if (groPath instanceof Error) warning(line);
    else info(line);
  }

  #setRoute(route: KernelRoute): void {
    try {
      this.#path?.setRoute(route);
    } catch (error) {
      this.#reasons.set(route.subnet.key, "the kernel refused its route");
      throw error;
    }
    verbose(
      1,
      `${route.subnet} via ${formatIPv4(route.publicIP)} goes through ` +
        `${route.carried ? "the kernel" : "user space"}`,
    );
  }

  #route(peer: PeerSubnet, underlay: UnderlayRoutes): KernelRoute {
    const reason = this.#reason(peer.publicIP, underlay);
    if (reason === undefined) this.#reasons.delete(peer.subnet.key);
    else this.#reasons.set(peer.subnet.key, reason);
    const carried = reason === undefined;
    return { ...peer, carried, accepted: carried || reason === NOT_ADVERTISED };
  }

  /** Reason why a peer's packets go through user space; `undefined` if the kernel carries them. */
  #reason(publicIP: IPv4, underlay: UnderlayRoutes): string | undefined {
    const { external, featuresOf } = this.#context;
    // First the reasons for which this host does not accept what the peer's kernel sends either.
    if (underlay.interfaceTo(publicIP) !== external.index) {
      return `no route to it by ${external.name}`;
    }
    if (this.#isCovered(publicIP)) return IPSEC;
    const isReader = this.#completesOffloads ||
      featuresOf?.(publicIP).includes(KERNEL_FEATURE) === true;
    return isReader ? undefined : NOT_ADVERTISED;
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
        ? "IPsec policies cover peers; their packets go through user space, because eBPF programs bypass IPsec"
        : "IPsec policies no longer cover a peer",
    );
  }

  #settings(own: Prefix, index: number): PathSettings {
    return pathSettings(this.#context, { device: index, port: this.#port, own });
  }

  #staleState(): StaleKernelPath {
    const { netlink, external } = this.#context;
    return new StaleKernelPath(netlink, this.#device, [external.name]);
  }

  /**
   * Runs a step. A permanent refusal ends the kernel path, and with `-udp-datapath=kernel` the network; a transient
   * one ends it after {@linkcode MAX_FAILURES}.
   *
   * @param extent failures that concern one peer are not counted: a change may cause one for each peer
   * @returns 1 when the caller must try the step again; else 0
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
        if (this.#failures < MAX_FAILURES) {
          const text = `udp kernel path: ${error.message}; trying again`;
          if (isInterfaceGone(error)) verbose(1, text);
          else this.#logFailure(text);
          return 1;
        }
      }
      this.#refuse(error);
      return 0;
    }
  }

  /** Logs a failure unless it is the same as the last one. */
  #logFailure(text: string): void {
    if (text !== this.#loggedFailure) warning(text);
    this.#loggedFailure = text;
  }

  /** Ends the kernel path for good. */
  #refuse(reason: Refusal): void {
    if (this.#mode === "auto") warning(`udp stays in user space: ${reason.message}`);
    this.#refused = true;
    try {
      this.remove();
    } catch (second) {
      if (!isRefusalOfPath(second)) throw second;
      warning(`udp kernel path not removed: ${second.message}; remove it with flanneld cleanup`);
    }
  }
}
