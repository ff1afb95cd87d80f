import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import { type Lease, leaseKey } from "../../mod/lease/mod.ts";
import { info, warning } from "../../mod/observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../mod/subnet/mod.ts";
import { Errno, type KernelEvent, type Link, monitor, SysError } from "../../mod/sys/mod.ts";
import type {
  Backend,
  BackendContext,
  Ingress,
  Network,
  NetworkStatus,
  SourceCheck,
} from "../backend.ts";
import { execute } from "../execute.ts";
import { HostRoutes, readHostTables } from "../host_routes.ts";
import { readManaged } from "../managed.ts";
import { refusal, Refusals } from "../peers.ts";
import { diff, type KernelObjects } from "../reconcile.ts";
import { disableIPv6 } from "../reconciled/device.ts";
import { damage } from "../reconciled/drift.ts";
import { PeerIndex } from "../reconciled/peer_index.ts";
import { UdpDataPath } from "./user/data_path.ts";
import { chooseDevice, isHeld, leaveDevice, takeDevice, udpDeviceNumber } from "./device_name.ts";
import { type DeviceObjects, deviceObjects } from "./desired.ts";
import { UdpDryRun } from "./dry_run.ts";
import { inspectUdp } from "./inspection.ts";
import { type PeerSubnet, UdpKernel } from "./kernel/udp_kernel.ts";
import { type UdpOptions, udpOptions, udpSourceCheck } from "./options.ts";
import { stalePrograms } from "./stale_programs.ts";
import { Throttle } from "./throttle.ts";
import { combineTraffic } from "./traffic.ts";
import type { Offload } from "./user/worker.ts";

/** Devices held by other processes that are tried before prepare() fails. */
const MAX_TRIED = 16;

/** Milliseconds between checks of the kernel path. */
const INSPECTION_MS = 2_000;

/** Time for child processes to release a closed device, and between checks, in milliseconds. */
const RELEASE_MS = 5_000;
const RELEASE_POLL_MS = 10;

/** The udp backend: one IPv4 packet in one UDP datagram, carried in user space or by eBPF programs. */
export const udpBackend: Backend = {
  type: "udp",
  changesKernel: true,
  resources: ({ config, external }) => [
    `UDP port ${udpOptions(config.backend.options, external.mtu).port}`,
  ],
  mtuFor: (options, interfaceMtu) => udpOptions(options, interfaceMtu).mtu,
  inspect: inspectUdp,
  deviceNumber: ({ name, kind }) => kind === "tun" ? udpDeviceNumber(name) : undefined,
  staleState: stalePrograms,
  async prepare(context: BackendContext): Promise<Network> {
    const options = udpOptions(context.config.backend.options, context.external.mtu);
    const tried = new Set<string>();
    for (;;) {
      const device = chooseDevice(context.netlink, context, tried);
      const network = new UdpNetwork(context, options, device);
      try {
        await network.open();
        return network;
      } catch (error) {
        await network.close();
        // Another process has opened the device meanwhile.
        if (!(error instanceof SysError) || error.errno !== Errno.EBUSY) throw error;
        if (tried.size >= MAX_TRIED) throw error;
        tried.add(device);
      }
    }
  },
  // deno-lint-ignore require-await -- an invalid option must reject
  async plan(context) {
    const options = udpOptions(context.config.backend.options, context.external.mtu);
    const device = chooseDevice(context.netlink, context, new Set());
    return new UdpDryRun(context, context.dryRun, device, options);
  },
};

class UdpNetwork implements Network {
  readonly mtu: number;
  readonly sourceCheck: SourceCheck;
  /** Name of the device. */
  readonly #name: string;
  readonly #context: BackendContext;
  readonly #options: UdpOptions;
  readonly #refusals = new Refusals();
  /** Subnets in the data path's table. */
  readonly #routed = new Map<string, PeerSubnet>();
  readonly #kernel: UdpKernel;
  readonly #host: HostRoutes;
  #path: UdpDataPath | undefined;
  /** Why the last data path failed; `undefined` while there is one. */
  #stopped: string | undefined;
  #device: Link | undefined;
  #own: Lease | undefined;
  /** Another program's route has the destination and metric of the network's route. */
  #isBlocked = false;
  /** Requests a repair; set during {@linkcode run}. */
  #repair: ((what: string) => void) | undefined;

  constructor(context: BackendContext, options: UdpOptions, device: string) {
    this.#name = device;
    this.sourceCheck = udpSourceCheck(options.port, context.udp);
    takeDevice(device);
    this.#context = context;
    this.#host = new HostRoutes(context.config.network);
    this.#options = options;
    this.mtu = options.mtu;
    this.#kernel = new UdpKernel(context, options.port, this.#name);
  }

  get ingress(): Ingress {
    const isInKernel = this.#kernel.features().length > 0;
    return { device: this.#name, ...(isInKernel ? {} : { port: this.#options.port }) };
  }

  /** flannel's leases of this backend have no data beside the public IP. */
  leaseData(): undefined {
    return undefined;
  }

  /**
   * Opens device, socket and workers unless they are open, and brings the device up.
   *
   * @throws {SysError} EBUSY when another process holds the device
   */
  async open(): Promise<void> {
    const { netlink, netns, external, config, udp } = this.#context;
    // A worker reports the deletion of its device later, from its own thread.
    if (this.#device !== undefined && netlink.link(this.#name)?.index !== this.#device.index) {
      await this.#path?.close();
      this.#path = undefined;
    }
    if (this.#path === undefined) {
      const path = await UdpDataPath.open({
        network: config.network,
        subnetLen: config.subnetLen,
        device: this.#name,
        address: external.address,
        port: this.#options.port,
        netns,
        onOffloadLost: (left) =>
          warning(`the kernel refused an offload of ${this.#name}; remaining: ${describe(left)}`),
        acceptAny: udp?.acceptAny ?? false,
        ...(udp?.workers === undefined ? {} : { workers: udp.workers }),
      });
      this.#path = path;
      this.#stopped = undefined;
      path.failed.catch(async (error: Error) => {
        await path.close();
        if (this.#path === path) {
          this.#path = undefined;
          this.#stopped = error.message;
        }
        this.#repair?.(error.message);
      });
      info(`tunnel on ${this.#name}, UDP port ${this.#options.port}: ${describe(path.offload())}`);
    }
    const link = netlink.link(this.#name);
    if (link === undefined) {
      throw new SysError("RTM_GETLINK", Errno.ENODEV, {
        subject: this.#name,
        detail: "deleted right after its creation",
      });
    }
    disableIPv6(netlink, link);
    netlink.setLink(link.index, { mtu: this.mtu, up: true });
    this.#device = { ...link, mtu: this.mtu };
    this.#kernel.open(link.index, this.#path);
  }

  async sync(own: Lease, leases: LeaseSet): Promise<number> {
    let refused = 0;
    this.#own = own;
    await this.open();
    // First, because the data path accepts no packet without a lease of its own.
    this.#setStrictSource();
    this.#path!.setOwn(own.subnet);
    const known = new Set<string>();
    this.#host.load(readHostTables(this.#context.netlink));
    for (const lease of leases.values()) {
      known.add(leaseKey(lease.subnet));
      this.#route(lease);
    }
    this.#refusals.retain(known);
    for (const [key, { subnet }] of this.#routed) if (!known.has(key)) this.#unroute(subnet);
    try {
      refused = this.#kernel.sync(own.subnet, this.#device!.index, this.#routed.values());
    } finally {
      // User space needs address and route even when the kernel path fails.
      const operations = diff(this.#objects(own), this.#actual());
      const addable = this.#host.addable(operations);
      this.#reportBlocked(addable.length < operations.length);
      refused += execute(this.#context.netlink, addable, "sync");
    }
    return refused;
  }

  apply({ added, removed, changed }: LeaseSetChange): Promise<number> {
    // Without a data path a repair is pending, whose sync() handles all leases.
    if (this.#path === undefined) return Promise.resolve(0);
    for (const lease of removed) {
      this.#refusals.forget(lease);
      if (this.#unroute(lease.subnet)) info(`Subnet removed: ${lease.subnet}`);
    }
    let refused = 0;
    const route = (lease: Lease, verb: string) => {
      if (!this.#route(lease)) return;
      refused += this.#kernel.setPeer(this.#routed.get(leaseKey(lease.subnet))!);
      info(`Subnet ${verb}: ${lease.subnet} via ${formatIPv4(lease.attributes.publicIP)}`);
    };
    for (const lease of added) route(lease, "added");
    for (const { after } of changed) route(after, "changed");
    return Promise.resolve(refused);
  }

  features(): readonly string[] {
    return this.#kernel.features();
  }

  featuresChanged(publicIPs: ReadonlySet<IPv4>): Promise<number> {
    let refused = 0;
    for (const peer of this.#routed.values()) {
      if (publicIPs.has(peer.publicIP)) refused += this.#kernel.setPeer(peer);
    }
    return Promise.resolve(refused);
  }

  sourceStrictnessChanged(): Promise<number> {
    const [own, device] = [this.#own, this.#device];
    // Without a data path a repair is pending, whose sync() sets it.
    if (this.#path === undefined || own === undefined || device === undefined) {
      return Promise.resolve(0);
    }
    this.#setStrictSource();
    return Promise.resolve(
      this.#kernel.sync(own.subnet, device.index, this.#routed.values()),
    );
  }

  #setStrictSource(): void {
    this.#path!.setStrictSource(this.#context.isSourceStrict?.() ?? false);
  }

  status(): NetworkStatus {
    const paths = () => this.#kernel.paths(this.#routed.values());
    return {
      device: this.#name,
      peers: this.#routed.size,
      ...(this.#path === undefined ? {} : { features: describe(this.#path.offload()) }),
      // A getter, because it costs O(peers).
      get paths() {
        return paths();
      },
      traffic: () => combineTraffic([this.#path?.pathTraffic(), this.#kernel.pathTraffic()]),
      ...(this.#stopped === undefined ? {} : { stopped: this.#stopped }),
      refused: this.#refusals.reasons,
    };
  }

  async run(signal: AbortSignal, repair: (what: string) => void): Promise<void> {
    this.#repair = repair;
    using routing = new Throttle(() => {
      const report = this.#kernel.reconsider(this.#routed.values());
      if (report !== undefined) repair(report);
    });
    // The kernel has no event for a program that is detached.
    const inspection = setInterval(() => {
      const report = this.#kernel.damage();
      if (report !== undefined) repair(report);
      else if (this.#kernel.updatePolicies()) routing.request();
    }, INSPECTION_MS);
    try {
      for await (const events of monitor(["link", "address", "route"], { signal })) {
        const changes = events.map((event) => this.#observe(event));
        const report = events.map((event, i) => this.#drift(event) ?? changes[i])
          .find((what) => what !== undefined);
        if (report !== undefined) repair(report);
        if (events.some((event) => this.#affectsUnderlay(event))) routing.request();
      }
    } finally {
      clearInterval(inspection);
      this.#repair = undefined;
    }
  }

  async remove(): Promise<void> {
    const { netlink } = this.#context;
    // A network of this backend that follows has closed this one, so the kernel, not a descriptor, names the objects.
    this.#kernel.remove();
    await this.#closePath();
    leaveDevice(this.#name);
    const link = netlink.link(this.#name);
    if (link !== undefined && link.index === this.#device?.index) netlink.deleteLink(link.index);
    info(`Removed device ${this.#name}`);
  }

  async close(): Promise<void> {
    this.#kernel.close();
    if (await this.#closePath()) await this.#released();
    leaveDevice(this.#name);
  }

  /** Closes the user-space path; returns false when there is none. */
  async #closePath(): Promise<boolean> {
    const path = this.#path;
    this.#path = undefined;
    await path?.close();
    return path !== undefined;
  }

  /**
   * Waits until no process holds the device, so that the next network of this process finds device and port free. A
   * child process has this process's descriptors from fork to execve(2), which takes a busy machine long.
   */
  async #released(): Promise<void> {
    const end = performance.now() + RELEASE_MS;
    while (isHeld(this.#context.netlink.link(this.#name)) && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, RELEASE_POLL_MS));
    }
  }

  /**
   * Routes a peer's lease, or removes its route when the lease is refused.
   *
   * @returns false for a refused lease and for this host's own
   */
  #route(lease: Lease): boolean {
    const { subnet, attributes } = lease;
    const own = this.#own!;
    if (subnet.equals(own.subnet)) return false;
    const { config, external } = this.#context;
    let reason = refusal(lease, { config, own, publicIP: external.publicIP, host: this.#host });
    if (reason === undefined) {
      try {
        this.#path!.setPeer(subnet, attributes.publicIP);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        reason = `not routable by udp: ${error.message}`;
      }
    }
    if (this.#refusals.note(lease, reason) !== undefined) this.#unroute(subnet);
    else this.#routed.set(leaseKey(subnet), { subnet, publicIP: attributes.publicIP });
    return reason === undefined;
  }

  /** Logs once that another program's route has the key of flanneld's. */
  #reportBlocked(isBlocked: boolean): void {
    if (isBlocked && !this.#isBlocked) {
      const { network } = this.#context.config;
      warning(
        `another program's route to ${network} is in the way of the one by ${this.#name}: no packet ` +
          `reaches a peer; remove it with ip route del ${network}`,
      );
    }
    this.#isBlocked = isBlocked;
  }

  #unroute(subnet: Prefix): boolean {
    this.#kernel.removePeer(subnet);
    this.#path?.removePeer(subnet);
    return this.#routed.delete(leaseKey(subnet));
  }

  /** Describes a change to this host's own routes that concerns a lease; `undefined` for other events. */
  #observe(event: KernelEvent): string | undefined {
    if (this.#own === undefined) return undefined;
    const { network, subnetLen } = this.#context.config;
    const peers = {
      // A route to the whole network has the same destination as flanneld's.
      has: (subnet: Prefix) => subnet.equals(network) || this.#routed.has(leaseKey(subnet)),
      refused: this.#refusals.reasons.size,
    };
    return this.#host.observe(event, peers, subnetLen, this.#own.subnet);
  }

  /** Describes an event that removed or changed an object of this network; `undefined` for other events. */
  #drift(event: KernelEvent): string | undefined {
    const { netlink } = this.#context;
    const [own, link] = [this.#own, this.#device];
    if (link === undefined || own === undefined || netlink.isOwn(event)) return undefined;
    const { addresses: [address], routes: [route] } = this.#objects(own);
    const peers = new PeerIndex();
    peers.add({ route });
    return damage(event, { device: { link, address }, peers }, netlink);
  }

  /** Returns whether packets to peers may now leave by another interface. */
  #affectsUnderlay(event: KernelEvent): boolean {
    const index = "link" in event
      ? event.link.index
      : "address" in event
      ? event.address.index
      : "route" in event
      ? event.route.oif
      : undefined;
    return index !== this.#device?.index;
  }

  #objects(own: Lease): DeviceObjects {
    return deviceObjects(own, this.#context.config.network, this.#device!.index);
  }

  #actual(): KernelObjects {
    return readManaged(this.#context.netlink, this.#context, this.#device!.index);
  }
}

/** Describes the offloads in use: `TCP segmentation, UDP segmentation, UDP GSO`. */
function describe({ tcp, udp, tso, udpGso, udpGro, simdChecksum }: Offload): string {
  const parts = [
    tcp && (tso ? "TCP segmentation" : "TCP merging"),
    udp && "UDP segmentation",
    udpGso && "UDP GSO",
    udpGro && "UDP GRO",
    simdChecksum && "SIMD checksums",
  ].filter((part) => part !== false);
  return parts.length === 0 ? "no offload, one packet at a time" : parts.join(", ");
}
