import type { Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../../mod/lease/mod.ts";
import { leaseKey } from "../../mod/lease/mod.ts";
import { info, warning } from "../../mod/observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../mod/subnet/mod.ts";
import {
  type FdbEntry,
  type KernelEvent,
  type Link,
  monitor,
  type MonitorGroup,
  type Route,
  SysError,
} from "../../mod/sys/mod.ts";
import type {
  Backend,
  BackendContext,
  Ingress,
  Network,
  NetworkStatus,
  SourceCheck,
} from "../backend.ts";
import { deviceTraffic } from "../device_traffic.ts";
import { execute } from "../execute.ts";
import { HostRoutes, readHostTables } from "../host_routes.ts";
import { managesRoute } from "../managed.ts";
import { logPeer, Refusals } from "../peers.ts";
import { diff, type KernelObjects, NUD_NOARP } from "../reconcile.ts";
import { deviceAddress, ensureDevice, restoreDevice } from "./device.ts";
import { DirectPeers, isReachedDirectly, linkPrefixes } from "./direct_peers.ts";
import {
  type Driver,
  type PeerContext,
  type PeerObjects,
  peerObjects,
  peerRefusal,
} from "./driver.ts";
import { damage, ExternalDrift, type OwnState } from "./drift.ts";
import { PeerIndex } from "./peer_index.ts";
import { RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** Parts of a {@linkcode ReconciledNetwork} from its backend. */
type ReconciledType = Pick<Backend, "type" | "deviceNumber">;

/**
 * A network whose packets the kernel carries by the objects that its {@linkcode Driver} asks for: this class
 * reconciles the kernel with them.
 */
export class ReconciledNetwork implements Network {
  readonly mtu: number;
  readonly ingress: Ingress;
  readonly sourceCheck: SourceCheck | undefined;
  readonly #backend: ReconciledType;
  readonly #driver: Driver;
  readonly #context: BackendContext;
  readonly #direct: DirectPeers;
  readonly #refusals = new Refusals();
  readonly #peers = new PeerIndex();
  readonly #host: HostRoutes;
  #device: Link | undefined;
  #link: readonly Prefix[] = [];
  #own: Lease | undefined;
  #hasWarnedOfLink = false;

  /** @throws {SysError} when the kernel refuses the device */
  constructor(backend: ReconciledType, driver: Driver, context: BackendContext) {
    this.#backend = backend;
    this.#driver = driver;
    this.#context = context;
    this.#host = new HostRoutes(context.config.network);
    this.#direct = new DirectPeers((address) =>
      isReachedDirectly(context.netlink, context.external.index, address)
    );
    this.mtu = driver.mtu;
    this.sourceCheck = driver.sourceCheck;
    const { device, encapsulation } = driver;
    this.ingress = {
      ...(device === undefined ? {} : { device: device.name }),
      ...(encapsulation?.port === undefined ? {} : { port: encapsulation.port }),
      ...(this.#usesExternal ? { underlay: context.external.name } : {}),
    };
    if (device !== undefined) this.#device = ensureDevice(context.netlink, device);
  }

  leaseData(form: LeaseForm): JsonValue | undefined {
    return this.#device && this.#driver.leaseData?.(form, this.#device);
  }

  foreignLeaseReason(lease: Lease): string | undefined {
    return this.#device && this.#driver.foreignLeaseReason?.(lease, this.#device);
  }

  sync(own: Lease, leases: LeaseSet): Promise<number> {
    const { netlink, external } = this.#context;
    const { arbiter, device: spec } = this.#driver;
    this.#own = own;
    if (spec !== undefined) this.#device = restoreDevice(netlink, spec, this.#device?.mac);
    const tables = readHostTables(netlink);
    this.#host.load(tables);
    this.#link = linkPrefixes(tables.routes, external.index);
    if (!this.#hasLink()) return Promise.resolve(1);
    const fdb = this.#isEthernet ? netlink.fdb({ index: this.#device!.index }) : [];
    arbiter?.restart(fdb);
    const context = this.#peerContext(own);
    const known = new Set<string>();
    this.#peers.clear();
    const take = (lease: Lease) => {
      if (!this.#accepts(lease, context)) return;
      this.#peers.add(peerObjects(this.#driver, lease, context));
    };
    for (const lease of leases.values()) {
      known.add(leaseKey(lease.subnet));
      take(lease);
    }
    for (const lease of arbiter?.releaseUnclaimed() ?? []) take(lease);
    this.#refusals.retain(known);
    const desired = {
      ...this.#peers.objects(),
      addresses: this.#device === undefined ? [] : [deviceAddress(own, this.#device.index)],
    };
    const operations = diff(desired, this.#actual(fdb, tables.routes));
    return Promise.resolve(execute(netlink, this.#host.addable(operations), "sync"));
  }

  apply({ added, removed, changed }: LeaseSetChange): Promise<number> {
    if (this.#own === undefined) throw new Error("apply() before sync()");
    // The return of the interface's network ends in sync().
    if (!this.#hasLink()) return Promise.resolve(1);
    const context = this.#peerContext(this.#own);
    const coming: PeerObjects[] = [];
    const come = (lease: Lease, verb: string) => {
      if (!this.#accepts(lease, context)) return;
      coming.push(peerObjects(this.#driver, lease, context));
      logPeer(verb, lease);
    };
    for (const lease of removed) {
      this.#refusals.forget(lease);
      if (this.#peers.get(lease.subnet)) logPeer("removed", lease);
    }
    const leaving = [...removed, ...changed.map(({ before }) => before)];
    const left = new Set(leaving.map(({ subnet }) => subnet.key));
    const { arbiter } = this.#driver;
    const freed = arbiter === undefined ? [] : leaving
      .flatMap((lease) => arbiter.release(lease, this.#peers.get(lease.subnet) !== undefined))
      .filter(({ subnet }) => !left.has(subnet.key));
    // A host that only moves keeps what it has before those that wait for it.
    for (const { after } of changed) come(after, "changed");
    for (const lease of added) come(lease, "added");
    for (const lease of freed) come(lease, "added");
    const { before, after } = this.#peers.change(leaving.map(({ subnet }) => subnet), coming);
    const operations = this.#host.addable(diff(after, before));
    return Promise.resolve(execute(this.#context.netlink, operations, "change"));
  }

  status(): NetworkStatus {
    const { netlink } = this.#context;
    const device = this.#device;
    return {
      peers: this.#peers.size,
      refused: this.#refusals.reasons,
      ...(device === undefined ? {} : {
        device: device.name,
        traffic: () => deviceTraffic(netlink, device.index, this.#isEthernet),
      }),
    };
  }

  async run(signal: AbortSignal, repair: (what: string) => void): Promise<void> {
    const { external, config, netlink } = this.#context;
    const groups: MonitorGroup[] = ["link", "address", "route", "ipv6-address"];
    if (this.#isEthernet) groups.push("neighbour");
    const externalDrift = new ExternalDrift(external);
    for await (const events of monitor(groups, { signal })) {
      if (this.#own === undefined) continue;
      const own = this.#own.subnet;
      const peers = {
        has: (subnet: Prefix) => this.#peers.get(subnet) !== undefined,
        refused: this.#refusals.reasons.size,
      };
      const state = this.#ownState(this.#own);
      // The first report of a group suffices: a repair checks everything.
      let report: string | undefined;
      for (const event of events) {
        const isOwn = netlink.isOwn(event);
        const moved = this.#usesExternal && !isOwn ? externalDrift.report(event) : undefined;
        if (moved !== undefined) this.#direct.clear();
        const changed = this.#host.observe(event, peers, config.subnetLen, own);
        report ??= moved ?? changed ??
          (isOwn ? undefined : damage(event, state, netlink, (event) => this.#deviceDamage(event)));
      }
      if (report !== undefined) repair(report);
    }
  }

  remove(): Promise<void> {
    const { netlink, external } = this.#context;
    const { device } = this.#driver;
    const link = device && netlink.link(device.name);
    if (link !== undefined && this.#backend.deviceNumber?.(link) !== undefined) {
      netlink.deleteLink(link.index);
      info(`Removed device ${link.name}`, { device: link.name });
    }
    if (!this.#usesExternal) return Promise.resolve();
    // The kernel removes routes by a device with it, and no others.
    const routes = netlink.routes({ table: RT_TABLE_MAIN, oif: external.index })
      .filter(managesRoute(this.#context, undefined));
    execute(netlink, routes.map((object) => ({ op: "delete", kind: "route", object })), "removal");
    return Promise.resolve();
  }

  /** Nothing of it runs in this process. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** True when routes leave by the external interface: without a device they can leave by no other. */
  get #usesExternal(): boolean {
    return this.#driver.device === undefined || (this.#driver.directRouting ?? false);
  }

  /** Only Ethernet devices have neighbours, FDB entries and headers of their own. */
  get #isEthernet(): boolean {
    return this.#device?.mac !== undefined;
  }

  /** False, with one warning, while peers need the interface's link and it has no network. */
  #hasLink(): boolean {
    const has = !(this.#driver.needsLink ?? false) || this.#link.length > 0;
    if (!has && !this.#hasWarnedOfLink) {
      warning(
        `${this.#context.external.name} is down or has no network of its own: no peer can be routed to ` +
          "until it has",
      );
    }
    this.#hasWarnedOfLink = !has;
    return has;
  }

  #peerContext(own: Lease): PeerContext {
    const { config, external } = this.#context;
    return {
      ...{ config, own, external, publicIP: external.publicIP, host: this.#host },
      ...{ device: this.#device?.index ?? 0, mac: this.#device?.mac, link: this.#link },
      isDirect: (address) => (this.#driver.directRouting ?? false) && this.#direct.has(address),
    };
  }

  #accepts(lease: Lease, context: PeerContext): boolean {
    if (lease.subnet.equals(context.own.subnet)) return false;
    const reason = peerRefusal(this.#backend.type, this.#driver, lease, context) ??
      this.#driver.arbiter?.take(lease);
    return this.#refusals.note(lease, reason) === undefined;
  }

  #ownState(own: Lease): OwnState {
    const device = this.#device;
    return {
      peers: this.#peers,
      device: device && { link: device, address: deviceAddress(own, device.index) },
    };
  }

  #deviceDamage(event: KernelEvent): string | undefined {
    if (event.type === "ipv6-address") {
      const device = this.#device;
      return event.index === device?.index && this.#context.netlink.acceptsIPv6(device)
        ? `IPv6 of ${device.name} turned on`
        : undefined;
    }
    return this.#offloadDamage(event);
  }

  /** The kernel reports that features have changed, but not which. */
  #offloadDamage(event: KernelEvent): string | undefined {
    const { name, txChecksum } = this.#driver.device ?? {};
    if (name === undefined || txChecksum === undefined || event.type !== "link") return undefined;
    if (event.link.index !== this.#device?.index) return undefined;
    try {
      const is = this.#context.netlink.transmitChecksumOffload(name);
      return is === txChecksum ? undefined : `tx-checksum-ip-generic of ${name} altered`;
    } catch (error) {
      // The device has gone meanwhile, which is an event too.
      if (error instanceof SysError) return undefined;
      throw error;
    }
  }

  /**
   * Reads the kernel objects that flanneld manages: all objects on its device, of any origin and network, except
   * those that the kernel itself adds (multicast neighbours, connected routes); and routes of other devices, see
   * {@linkcode managesRoute}.
   */
  #actual(fdb: readonly FdbEntry[], routes: readonly Route[]): KernelObjects {
    const { netlink } = this.#context;
    const index = this.#device?.index;
    return {
      addresses: index === undefined ? [] : netlink.addresses({ index }),
      neighbours: index === undefined || !this.#isEthernet
        ? []
        : netlink.neighbours({ index }).filter(({ state }) => state !== NUD_NOARP),
      fdb: fdb.filter(({ destination }) => destination !== undefined),
      routes: routes.filter(managesRoute(this.#context, index)),
    };
  }
}
