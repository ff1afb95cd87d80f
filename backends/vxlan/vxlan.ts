import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../../mod/lease/mod.ts";
import { leaseKey } from "../../mod/lease/mod.ts";
import { info, verbose } from "../../mod/observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../mod/subnet/mod.ts";
import { IFF_UP, type KernelEvent, type Link, monitor, SysError } from "../../mod/sys/mod.ts";
import type { Backend, BackendContext, Ingress, Network, NetworkStatus } from "../backend.ts";
import { deviceTraffic } from "../device_traffic.ts";
import { execute } from "../execute.ts";
import { connectedNetworks, Refusals, tellPeer } from "../peers.ts";
import {
  diff,
  type KernelObjects,
  NUD_PERMANENT,
  RT_TABLE_MAIN,
  RTPROT_BOOT,
  RTPROT_FLANNEL,
  RTPROT_KERNEL,
} from "../reconcile.ts";
import { wantedTxChecksum } from "./checksum.ts";
import {
  deviceAddress,
  type PeerObjects,
  peerObjects,
  vtepMac,
  type VxlanContext,
  vxlanRefusal,
} from "./desired.ts";
import { DirectPeers } from "./direct.ts";
import { type DeviceSpec, ensureDevice, restoreDevice } from "./device.ts";
import { drift, type OwnState } from "./drift.ts";
import { vxlanOptions } from "./options.ts";
import { PeerIndex } from "./peer_index.ts";

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
  readonly leaseType = "vxlan";
  readonly #context: BackendContext;
  readonly #spec: DeviceSpec;
  readonly #directRouting: boolean;
  readonly #direct = new DirectPeers((address) => this.#isOnLink(address));
  readonly #refusals = new Refusals();
  readonly #peers = new PeerIndex();
  #device: Link;
  #own: Lease | undefined;

  constructor(context: BackendContext) {
    this.#context = context;
    const { external, config } = context;
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
      ...(options.directRouting ? { underlay: external.name } : {}),
    };
    this.#device = ensureDevice(context.netlink, this.#spec);
  }

  leaseData(form: LeaseForm): JsonValue {
    const VtepMAC = this.#device.mac!;
    return form === "v0.7" ? { VtepMAC } : { VNI: this.#spec.vxlan.vni, VtepMAC };
  }

  suspicion(lease: Lease): string | undefined {
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
    const context = this.#peerContext(own);
    const known = new Set<string>();
    this.#peers.clear();
    for (const lease of leases.values()) {
      known.add(leaseKey(lease.subnet));
      if (this.#accepts(lease, context)) this.#peers.add(peerObjects(lease, context));
    }
    this.#refusals.retain(known);
    const address = deviceAddress(own, this.#device.index);
    const desired = { ...this.#peers.objects(), addresses: [address] };
    return Promise.resolve(
      execute(this.#context.netlink, diff(desired, this.#actual(own)), "sync"),
    );
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
    for (const lease of added) come(lease, "added");
    for (const { after } of changed) come(after, "changed");
    const leaving = [...removed, ...changed.map(({ before }) => before)];
    const { before, after } = this.#peers.change(leaving.map(({ subnet }) => subnet), coming);
    return Promise.resolve(execute(this.#context.netlink, diff(after, before), "change"));
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
    const { external } = this.#context;
    let externalDown = false;
    for await (const events of monitor(["link", "address", "route", "neighbour"], { signal })) {
      if (this.#own === undefined) continue;
      const state = {
        device: this.#device,
        address: deviceAddress(this.#own, this.#device.index),
        peers: this.#peers,
      };
      // The first report of a group will do: a repair looks at everything.
      let report: string | undefined;
      for (const event of events) {
        if (event.type === "link" && event.link.index === external.index) {
          const down = (event.link.flags & IFF_UP) === 0;
          // The kernel takes an interface's routes away as it goes down, without a word.
          if (externalDown && !down && this.#directRouting) {
            this.#direct.clear();
            report ??= `${external.name} came back, its routes did not`;
          }
          externalDown = down;
        } else report ??= this.#damage(event, state);
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
    if (link?.vxlan?.vni === this.#spec.vxlan.vni) {
      netlink.deleteLink(link.index);
      info(`Removed device ${this.#spec.name}`, { device: this.#spec.name });
    }
    if (!this.#directRouting) return Promise.resolve();
    // Routes by a device go with it; those of DirectRouting do not.
    const direct = netlink.routes({ table: RT_TABLE_MAIN, protocol: RTPROT_FLANNEL })
      .filter(({ oif, destination }) =>
        oif === external.index && this.#serves(destination.address)
      );
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

  #peerContext(own: Lease): VxlanContext {
    const { config, external } = this.#context;
    return {
      config,
      own,
      publicIP: external.publicIP,
      connected: connectedNetworks(this.#context.netlink, this.#device.index),
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

  #accepts(lease: Lease, context: VxlanContext): boolean {
    if (lease.subnet.equals(context.own.subnet)) return false;
    return this.#refusals.note(lease, vxlanRefusal(lease, context)) === undefined;
  }

  /** True for an address of a network that we serve or served. */
  #serves(address: IPv4): boolean {
    const { config, formerNetworks } = this.#context;
    return config.network.contains(address) ||
      formerNetworks.some((network) => network.contains(address));
  }

  /**
   * What the kernel has that is ours: on our device the neighbours, the FDB entries with a remote,
   * and the addresses and routes that lie in a network we serve or served (flannel's own, left by
   * an upgrade); on any device the routes into such a network with our protocol number, and those
   * to a peer's subnet that flannel or a hand installed: flannel replaces them, and next to ours
   * they may win. Routes with our number elsewhere are those of an agent for another network.
   */
  #actual(own: Lease): KernelObjects {
    const { netlink } = this.#context;
    const { index } = this.#device;
    return {
      addresses: netlink.addresses({ index })
        .filter(({ address }) => address === own.subnet.address || this.#serves(address)),
      neighbours: netlink.neighbours({ index })
        .filter(({ state, address }) => state === NUD_PERMANENT || this.#serves(address)),
      fdb: netlink.fdb({ index }).filter(({ destination }) => destination !== undefined),
      routes: netlink.routes({ table: RT_TABLE_MAIN }).filter((route) =>
        this.#serves(route.destination.address) &&
        (route.protocol === RTPROT_FLANNEL ||
          (route.oif === index && route.protocol !== RTPROT_KERNEL) ||
          (route.protocol === RTPROT_BOOT && this.#peers.get(route.destination) !== undefined))
      ),
    };
  }
}
