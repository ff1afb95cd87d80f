import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../../mod/lease/mod.ts";
import { leaseKey } from "../../mod/lease/mod.ts";
import { info, verbose } from "../../mod/observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../mod/subnet/mod.ts";
import {
  type FdbEntry,
  type KernelEvent,
  type Link,
  monitor,
  type Route,
  SysError,
  VXLAN,
} from "../../mod/sys/mod.ts";
import {
  type Backend,
  type BackendContext,
  fixedBy,
  type Ingress,
  type Network,
  type NetworkStatus,
  type SourceCheck,
} from "../backend.ts";
import { deviceTraffic } from "../device_traffic.ts";
import { execute } from "../execute.ts";
import { HostRoutes, readHostTables } from "../host_routes.ts";
import { managesRoute } from "../managed.ts";
import { Refusals, tellPeer } from "../peers.ts";
import { diff, type KernelObjects, NUD_NOARP } from "../reconcile.ts";
import { wantedTxChecksum } from "./checksum.ts";
import {
  deviceAddress,
  type PeerObjects,
  peerObjects,
  vtepMac,
  type VxlanContext,
  vxlanRefusal,
  type VxlanRules,
} from "./desired.ts";
import { DirectPeers } from "./direct.ts";
import { type DeviceSpec, ensureDevice, restoreDevice } from "./device.ts";
import { drift, type OwnState } from "./drift.ts";
import { vxlanOptions } from "./options.ts";
import { PeerIndex } from "./peer_index.ts";
import { VtepHolders } from "./vtep_holders.ts";
import { IFF_UP, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** VXLAN in the kernel: the agent programs, the kernel carries. */
export const vxlanBackend: Backend = {
  type: "vxlan",
  changesKernel: true,
  resources: ({ config, external }) => [
    `VNI ${vxlanOptions(config.backend.options, external.mtu).vni}`,
  ],
  mtuFor: (options, interfaceMtu) => vxlanOptions(options, interfaceMtu).mtu,
  // deno-lint-ignore require-await -- a bad option is to be a rejection, as the interface says
  async prepare(context: BackendContext): Promise<Network> {
    return new VxlanNetwork(context);
  },
};

class VxlanNetwork implements Network {
  readonly mtu: number;
  readonly ingress: Ingress;
  readonly sourceCheck: SourceCheck;
  readonly leaseType = "vxlan";
  readonly #context: BackendContext;
  readonly #spec: DeviceSpec;
  readonly #directRouting: boolean;
  readonly #direct = new DirectPeers((address) => this.#isOnLink(address));
  readonly #refusals = new Refusals();
  readonly #peers = new PeerIndex();
  readonly #host: HostRoutes;
  readonly #vteps = new VtepHolders();
  #device: Link;
  #own: Lease | undefined;

  constructor(context: BackendContext) {
    this.#context = context;
    const { external, config } = context;
    this.#host = new HostRoutes(config.network);
    const options = vxlanOptions(config.backend.options, external.mtu);
    this.#directRouting = options.directRouting;
    this.mtu = options.mtu;
    const { txChecksum = "auto" } = context.vxlan ?? {};
    const release = Deno.osRelease();
    const wanted = wantedTxChecksum(txChecksum, release);
    if (txChecksum === "auto" && wanted === false) {
      info(
        `Linux ${release} may compute wrong checksums of encapsulated packets that are masqueraded; ` +
          `going without tx-checksum-ip-generic (-vxlan-tx-checksum=on keeps it)`,
      );
    }
    this.#spec = {
      name: `flannel.${options.vni}`,
      txChecksum: wanted,
      mtu: options.mtu,
      mac: vtepMac(context.formerData),
      vxlan: {
        vni: options.vni,
        link: external.index,
        local: external.address,
        port: options.port,
        gbp: options.gbp,
        learning: options.learning,
      },
    };
    this.ingress = {
      device: this.#spec.name,
      port: options.port,
      ...(options.directRouting ? { underlay: external.name } : {}),
    };
    // The kernel's vxlan drops the outer source before anybody can compare it with the inner one.
    this.sourceCheck = {
      ...{ port: options.port, by: "firewall" },
      fixed: fixedBy("-vxlan-strict-source", context.vxlan?.strictSource),
    };
    this.#device = ensureDevice(context.netlink, this.#spec);
  }

  leaseData(form: LeaseForm): JsonValue {
    const VtepMAC = this.#device.mac!;
    return form === "v0.7" ? { VtepMAC } : { VNI: this.#spec.vxlan.vni, VtepMAC };
  }

  foreignLeaseReason(lease: Lease): string | undefined {
    const mac = vtepMac(lease.attributes.backendData);
    if (mac === undefined || mac === this.#device.mac) return undefined;
    return `its VTEP MAC is ${mac}, that of our ${this.#spec.name} is ${this.#device.mac}`;
  }

  sync(own: Lease, leases: LeaseSet): Promise<number> {
    this.#own = own;
    this.#device = restoreDevice(this.#context.netlink, {
      ...this.#spec,
      mac: this.#device.mac!,
    });
    const { netlink } = this.#context;
    const { index } = this.#device;
    const tables = readHostTables(netlink);
    const fdb = netlink.fdb({ index });
    this.#host.load(tables);
    this.#vteps.restart(fdb);
    const context = this.#peerContext(own);
    const known = new Set<string>();
    this.#peers.clear();
    const take = (lease: Lease) => {
      if (this.#accepts(lease, context)) this.#peers.add(peerObjects(lease, context));
    };
    for (const lease of leases.values()) {
      known.add(leaseKey(lease.subnet));
      take(lease);
    }
    for (const lease of this.#vteps.settle()) take(lease);
    this.#refusals.retain(known);
    const desired = { ...this.#peers.objects(), addresses: [deviceAddress(own, index)] };
    const operations = diff(desired, this.#actual(fdb, tables.routes));
    return Promise.resolve(execute(netlink, this.#host.addable(operations), "sync"));
  }

  apply({ added, removed, changed }: LeaseSetChange): Promise<number> {
    if (this.#own === undefined) throw new Error("apply() before sync()");
    const context = this.#peerContext(this.#own);
    const coming: PeerObjects[] = [];
    const come = (lease: Lease, verb: string) => {
      if (!this.#accepts(lease, context)) return;
      coming.push(peerObjects(lease, context));
      tellPeer(verb, lease);
    };
    for (const lease of removed) {
      this.#refusals.forget(lease);
      if (this.#peers.get(lease.subnet)) tellPeer("removed", lease);
    }
    const leaving = [...removed, ...changed.map(({ before }) => before)];
    const left = new Set(leaving.map(({ subnet }) => subnet.key));
    const freed = leaving.flatMap((lease) => this.#releaseVtep(lease))
      .filter(({ subnet }) => !left.has(subnet.key));
    // A host that only moves keeps its MAC before those that wait for it.
    for (const { after } of changed) come(after, "changed");
    for (const lease of added) come(lease, "added");
    for (const lease of freed) come(lease, "added");
    const { before, after } = this.#peers.change(leaving.map(({ subnet }) => subnet), coming);
    const operations = this.#host.addable(diff(after, before));
    return Promise.resolve(execute(this.#context.netlink, operations, "change"));
  }

  /** @returns leases that waited for the MAC of one that leaves */
  #releaseVtep(lease: Lease): Lease[] {
    const mac = vtepMac(lease.attributes.backendData);
    if (mac === undefined) return [];
    if (this.#peers.get(lease.subnet) !== undefined) return this.#vteps.release(mac);
    this.#vteps.forget(mac, lease);
    return [];
  }

  status(): NetworkStatus {
    return {
      device: this.#spec.name,
      peers: this.#peers.size,
      refused: this.#refusals.reasons,
      traffic: () => deviceTraffic(this.#context.netlink, this.#device.index),
    };
  }

  async run(signal: AbortSignal, repair: (what: string) => void): Promise<void> {
    const { external, config, netlink } = this.#context;
    let externalDown = false;
    for await (const events of monitor(["link", "address", "route", "neighbour"], { signal })) {
      if (this.#own === undefined) continue;
      const own = this.#own.subnet;
      const peers = {
        has: (subnet: Prefix) => this.#peers.get(subnet) !== undefined,
        refused: this.#refusals.reasons.size,
      };
      const state = {
        device: this.#device,
        address: deviceAddress(this.#own, this.#device.index),
        peers: this.#peers,
      };
      // The first report of a group will do: a repair looks at everything.
      let report: string | undefined;
      for (const event of events) {
        const changed = this.#host.observe(event, peers, config.subnetLen, own);
        report ??= changed;
        if (event.type === "link" && event.link.index === external.index) {
          const down = (event.link.flags & IFF_UP) === 0;
          // The kernel takes an interface's routes away as it goes down, without a word.
          if (externalDown && !down && this.#directRouting) {
            this.#direct.clear();
            report ??= `${external.name} came back, its routes did not`;
          }
          externalDown = down;
        } else if (!netlink.isOwn(event)) report ??= this.#damage(event, state);
      }
      if (report !== undefined) repair(report);
    }
  }

  #damage(event: KernelEvent, state: OwnState): string | undefined {
    const report = drift(event, state) ?? this.#offloadDamage(event);
    if (report === undefined) return undefined;
    // All that was on a deleted device is told before the device itself.
    const link = this.#context.netlink.linkByIndex(this.#device.index);
    if (link === undefined) return `device ${this.#spec.name} removed`;
    // A device that we have just made was down for a moment: what is it now?
    return event.type === "link"
      ? drift({ ...event, link }, state) ?? this.#offloadDamage(event)
      : report;
  }

  /** The kernel tells that features have changed, but not which. */
  #offloadDamage(event: KernelEvent): string | undefined {
    const { name, txChecksum } = this.#spec;
    if (txChecksum === undefined || event.type !== "link") return undefined;
    if (event.link.index !== this.#device.index) return undefined;
    try {
      const is = this.#context.netlink.transmitChecksumOffload(name);
      return is === txChecksum ? undefined : `tx-checksum-ip-generic of ${name} altered`;
    } catch (error) {
      // The device has gone meanwhile, which is told too.
      if (error instanceof SysError) return undefined;
      throw error;
    }
  }

  remove(): Promise<void> {
    const { netlink, external } = this.#context;
    const link = netlink.link(this.#spec.name);
    if (link !== undefined && VXLAN.of(link)?.vni === this.#spec.vxlan.vni) {
      netlink.deleteLink(link.index);
      info(`Removed device ${this.#spec.name}`, { device: this.#spec.name });
    }
    if (!this.#directRouting) return Promise.resolve();
    // Routes by a device go with it; those of DirectRouting do not.
    const direct = netlink.routes({ table: RT_TABLE_MAIN, oif: external.index })
      .filter(managesRoute(this.#context, undefined));
    execute(
      this.#context.netlink,
      direct.map((object) => ({ op: "delete", kind: "route", object })),
      "removal",
    );
    return Promise.resolve();
  }

  /** Nothing of it runs in this process. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  #peerContext(own: Lease): VxlanContext & VxlanRules {
    const { config, external } = this.#context;
    return {
      config,
      own,
      publicIP: external.publicIP,
      host: this.#host,
      mac: this.#device.mac,
      device: this.#device.index,
      external: external.index,
      isDirect: (address) => this.#directRouting && this.#direct.has(address),
    };
  }

  #isOnLink(address: IPv4): boolean {
    try {
      const route = this.#context.netlink.routeTo(address);
      return route.gateway === undefined && route.oif === this.#context.external.index;
    } catch (error) {
      verbose(2, `No route to ${formatIPv4(address)}: ${(error as Error).message}`);
      return false;
    }
  }

  #accepts(lease: Lease, context: VxlanRules): boolean {
    if (lease.subnet.equals(context.own.subnet)) return false;
    const reason = vxlanRefusal(lease, context) ?? this.#takeVtep(lease);
    return this.#refusals.note(lease, reason) === undefined;
  }

  #takeVtep(lease: Lease): string | undefined {
    const mac = vtepMac(lease.attributes.backendData)!;
    const holder = this.#vteps.take(mac, lease);
    return holder === undefined
      ? undefined
      : `has the VTEP MAC ${mac} of ${formatIPv4(holder)}, which had it first`;
  }

  /**
   * Reads the kernel objects that flanneld manages: all objects on its device, of any origin and network, except
   * those that the kernel itself adds (multicast neighbours, connected routes); and routes of other devices, see
   * {@linkcode managesRoute}.
   */
  #actual(fdb: readonly FdbEntry[], routes: readonly Route[]): KernelObjects {
    const { netlink } = this.#context;
    const { index } = this.#device;
    return {
      addresses: netlink.addresses({ index }),
      neighbours: netlink.neighbours({ index }).filter(({ state }) => state !== NUD_NOARP),
      fdb: fdb.filter(({ destination }) => destination !== undefined),
      routes: routes.filter(managesRoute(this.#context, index)),
    };
  }
}
