import type { IPv4, Prefix } from "../../../mod/ip/mod.ts";
import {
  Assembler,
  BpfMap,
  BpfProgram,
  ensureBpffs,
  makePinDirectory,
  openPin,
  pathExists,
  pin,
  R0,
  removePinDirectory,
  TcxLink,
  Verdict,
} from "../../../mod/sys/bpf/mod.ts";
import { Errno, type Netlink, SysError } from "../../../mod/sys/mod.ts";
import type { PeerTraffic } from "../traffic.ts";
import type { Abilities } from "./programs/encapsulate.ts";
import { runAll } from "./run_all.ts";
import { GroDevice, groDeviceName } from "./gro/gro_device.ts";
import { ClsactHook, type Hook, TcxHook } from "./hook.ts";
import { type GroPathError, GroPathMonitor } from "./gro/gro_path_monitor.ts";
import { probeGroPath } from "./gro/gro_probe.ts";
import {
  type KernelRoute,
  type MapName,
  MAPS,
  type PathSettings,
  peerKey,
  readPeerKey,
  readRouteKey,
  readRouteValue,
  type Reason,
  REASONS,
  routeKey,
  routeValue,
  Traffic,
} from "./programs/layout.ts";
import { loadPrograms, probeAbilities } from "./programs/programs.ts";

/** Method of attaching programs: TCX since Linux 6.6, clsact filters before. */
export type Attachment = "tcx" | "clsact";

/** Options of {@linkcode KernelPath.open}. */
export interface KernelPathOptions {
  /** Of the calling thread's network namespace. */
  readonly netlink: Netlink;
  /** Directory for this path's pins only, in the BPF file system. */
  readonly directory: string;
  /** Constants of the programs; `own` may still be any prefix. */
  readonly settings: PathSettings;
  /** Name of the TUN device. */
  readonly device: string;
  /** @default TCX if the kernel supports it */
  readonly attachment?: Attachment | undefined;
  /** As `pauseMs` of {@linkcode GroPathMonitor}. */
  readonly groPauseMs?: number | undefined;
}

/** `struct bpf_insn[]` of a program that passes all packets, attached to probe for TCX. */
const PASS = new Assembler().mov(R0, Verdict.TC_ACT_UNSPEC).exit().assemble();

/**
 * The kernel path of the udp backend: the programs, their maps, and the pins and filters that keep both when the
 * agent ends.
 *
 * It carries packets from {@linkcode KernelPath.sync} on, whether an agent runs or not. It passes packets that it
 * does not carry to the user-space path, which needs the same device and the same peers.
 */
export class KernelPath implements Disposable {
  readonly attachment: Attachment;
  readonly #directory: string;
  readonly #maps: Readonly<Record<MapName, BpfMap>>;
  /** In the order of attaching: a host must be able to receive before it sends. */
  readonly #hooks: { readonly decapsulate: Hook; readonly encapsulate: Hook };
  readonly #groDevice: GroDevice;
  readonly #monitor: GroPathMonitor;
  /** Why there is no GRO device. */
  #groRefusal: SysError | undefined;
  readonly #routes = new Map<number, KernelRoute>();
  /** Number of subnets by holder. */
  readonly #leases = new Map<IPv4, number>();
  /** Hosts whose packets take the GRO path while it is open. */
  readonly #carried = () => {
    const carried = [...this.#routes.values()].filter((route) => route.carried);
    return new Set(carried.map(({ publicIP }) => publicIP));
  };
  readonly #abilities: Abilities;
  #settings: PathSettings | undefined;
  #isAttached = false;

  private constructor(
    { netlink, directory, device, groPauseMs }: KernelPathOptions,
    attachment: Attachment,
    maps: Readonly<Record<MapName, BpfMap>>,
    abilities: Abilities,
  ) {
    this.#abilities = abilities;
    this.attachment = attachment;
    this.#directory = directory;
    this.#maps = maps;
    const groDevice = groDeviceName(device);
    this.#groDevice = new GroDevice(
      netlink,
      device,
      attachment === "tcx"
        ? new TcxHook(`${directory}/gro_arrival`, "ingress")
        : ClsactHook.groArrival(netlink, [groDevice], device),
    );
    this.#monitor = new GroPathMonitor({
      ...{ name: groDevice, maps, pauseMs: groPauseMs },
      probe: (peers) => probeGroPath({ netlink, maps, settings: this.#settings!, peers }),
    });
    this.#hooks = attachment === "tcx"
      ? {
        decapsulate: new TcxHook(`${directory}/decapsulate`, "ingress"),
        encapsulate: new TcxHook(`${directory}/encapsulate`, "egress"),
      }
      : {
        // An earlier agent may have had another external interface.
        decapsulate: ClsactHook.decapsulate(netlink, ethernetNames(netlink), device),
        encapsulate: ClsactHook.encapsulate(netlink, [device], device),
      };
  }

  /**
   * Adopts the maps that an earlier agent left, or creates them. Does not change what the kernel carries.
   *
   * @throws {BpfError} when the verifier refuses a program
   * @throws {SysError} when the kernel refuses maps, pins or attaching: EPERM without the privilege or
   * under lockdown, EINVAL for unknown features, EROFS when the BPF file system is read-only
   */
  static open(options: KernelPathOptions): KernelPath {
    using stack = new DisposableStack();
    preparePins(options.directory);
    const maps = Object.fromEntries(
      Object.keys(MAPS).map((name) =>
        [name, stack.use(openMap(options.directory, name as MapName))] as const
      ),
    ) as Record<MapName, BpfMap>;
    const abilities = probeAbilities();
    loadPrograms(options.settings, abilities, maps)[Symbol.dispose]();
    const attachment = options.attachment ?? probeAttachment(options.settings.device);
    stack.move();
    return new KernelPath(options, attachment, maps, abilities);
  }

  /**
   * Reconciles the maps' entries and then the programs. From the first call on the kernel carries packets. After an
   * earlier agent no packet takes another path meanwhile.
   *
   * @throws {SysError} when the kernel refuses; the kernel goes on with what it carried before
   */
  sync(settings: PathSettings, routes: Iterable<KernelRoute>): void {
    // The directory, or the file system, may have been removed with the pins.
    preparePins(this.#directory);
    const wanted = new Map<number, KernelRoute>();
    for (const route of routes) wanted.set(route.subnet.key, route);
    this.#syncMaps(wanted);
    const isSame = JSON.stringify(this.#settings) === JSON.stringify(settings);
    const isDamaged = this.#hookDamage() !== undefined;
    if (!isSame || isDamaged) {
      this.#settings = undefined;
      // Where the rest fails, the kernel goes on with the former programs, unless they were removed.
      if (isDamaged) this.#isAttached = false;
      using programs = loadPrograms(settings, this.#abilities, this.#maps);
      const { encapsulate, decapsulate, groArrival } = programs;
      this.#ensureGroDevice(groArrival);
      this.#hooks.decapsulate.ensure(decapsulate, settings.underlay);
      this.#hooks.encapsulate.ensure(encapsulate, settings.device);
      this.#settings = settings;
      this.#isAttached = true;
    }
    this.#monitor.reconcile(this.#carried);
    this.#pinMaps();
  }

  /**
   * Adds a subnet, or changes its holder or its path. Costs one or two system calls.
   *
   * @throws {SysError} ENOMEM or ENOSPC; the kernel path then has no route for the subnet
   */
  setRoute(route: KernelRoute): void {
    const { subnet, publicIP } = route;
    const before = this.#routes.get(subnet.key);
    this.#hold(publicIP);
    try {
      this.#maps.routes.update(routeKey(subnet), routeValue(route));
    } catch (error) {
      this.#release(publicIP);
      // The former holder must not get packets for the present one.
      this.removeRoute(subnet);
      throw error;
    }
    this.#routes.set(subnet.key, route);
    if (before !== undefined) this.#release(before.publicIP);
  }

  /** Forgets a subnet; unknown ones are ignored. */
  removeRoute(subnet: Prefix): void {
    const before = this.#routes.get(subnet.key);
    if (before === undefined) return;
    this.#routes.delete(subnet.key);
    this.#maps.routes.delete(routeKey(subnet));
    this.#release(before.publicIP);
  }

  /**
   * Describes an object that was removed or changed since the last {@linkcode KernelPath.sync}, which repairs it.
   * The kernel has no events for that. Costs a dozen system calls.
   */
  damage(): string | undefined {
    if (this.#settings === undefined) return undefined;
    const unpinned = Object.keys(MAPS).find((name) => !pathExists(`${this.#directory}/${name}`));
    return this.#hookDamage() ?? (unpinned && `map ${unpinned} unpinned`) ??
      this.#monitor.check(this.#carried);
  }

  /** True when a {@linkcode KernelPath.sync} has attached both programs, and no later one found one removed. */
  get isAttached(): boolean {
    return this.#isAttached;
  }

  /** Name of the GRO device, or the reason why the GRO path is closed; `undefined` before the first sync(). */
  get groPath(): string | SysError | GroPathError | undefined {
    if (this.#settings === undefined) return undefined;
    return this.#groRefusal ?? this.#monitor.error ?? this.#groDevice.name;
  }

  /** Drops by reason, since the maps were created. */
  drops(): Record<Reason, number> {
    return Object.fromEntries(
      REASONS.map((reason, index) => [reason, this.#maps.reasons.total(index)]),
    ) as Record<Reason, number>;
  }

  /** Traffic by peer, since it was added. */
  traffic(): PeerTraffic[] {
    const { peers } = this.#maps;
    return [...this.#leases.keys()].flatMap((publicIP) => {
      const values = peers.lookup(peerKey(publicIP));
      if (values === undefined) return [];
      return [{
        publicIP,
        sentPackets: peers.sum(values, Traffic.sentPackets),
        sentBytes: peers.sum(values, Traffic.sentBytes),
        receivedPackets: peers.sum(values, Traffic.receivedPackets),
        receivedBytes: peers.sum(values, Traffic.receivedBytes),
      }];
    });
  }

  /**
   * Stops carrying packets and removes everything from the kernel.
   *
   * @throws {SysError} when the kernel refuses to remove an object; the others are removed
   */
  remove(): void {
    this.#settings = undefined;
    this.#isAttached = false;
    runAll([
      () => this.#hooks.encapsulate.remove(),
      () => this.#hooks.decapsulate.remove(),
      () => this.#groDevice.remove(),
      () => removePinDirectory(this.#directory),
    ]);
  }

  /** Closes the descriptors; the kernel goes on carrying packets. */
  [Symbol.dispose](): void {
    for (const hook of Object.values(this.#hooks)) hook[Symbol.dispose]();
    this.#groDevice[Symbol.dispose]();
    for (const map of Object.values(this.#maps)) map[Symbol.dispose]();
  }

  #syncMaps(wanted: ReadonlyMap<number, KernelRoute>): void {
    const { routes, peers } = this.#maps;
    const leases = new Map<IPv4, number>();
    for (const { publicIP } of wanted.values()) {
      leases.set(publicIP, (leases.get(publicIP) ?? 0) + 1);
    }
    const known = new Set(peers.keys().map(readPeerKey));
    for (const publicIP of leases.keys()) if (!known.has(publicIP)) this.#addPeer(publicIP);
    const stale: Uint8Array[] = [];
    const current = new Set<number>();
    for (const key of routes.keys()) {
      const subnet = readRouteKey(key);
      const route = wanted.get(subnet.key);
      if (route === undefined) {
        stale.push(key);
        continue;
      }
      const value = routes.lookup(key);
      if (value === undefined) continue;
      const { publicIP, carried, accepted } = readRouteValue(value);
      const isSame = publicIP === route.publicIP && carried === route.carried &&
        accepted === (route.accepted ?? route.carried);
      if (isSame) current.add(subnet.key);
    }
    // Before the additions: the map may be full.
    for (const key of stale) routes.delete(key);
    for (const [key, route] of wanted) {
      if (!current.has(key)) routes.update(routeKey(route.subnet), routeValue(route));
    }
    for (const publicIP of known) if (!leases.has(publicIP)) peers.delete(peerKey(publicIP));
    this.#routes.clear();
    for (const [key, route] of wanted) this.#routes.set(key, route);
    this.#leases.clear();
    for (const [publicIP, count] of leases) this.#leases.set(publicIP, count);
  }

  #hold(publicIP: IPv4): void {
    const count = this.#leases.get(publicIP) ?? 0;
    if (count === 0) this.#addPeer(publicIP);
    this.#leases.set(publicIP, count + 1);
  }

  #release(publicIP: IPv4): void {
    const count = this.#leases.get(publicIP)! - 1;
    if (count > 0) {
      this.#leases.set(publicIP, count);
      return;
    }
    this.#leases.delete(publicIP);
    this.#maps.peers.delete(peerKey(publicIP));
  }

  #addPeer(publicIP: IPv4): void {
    this.#maps.peers.update(peerKey(publicIP), new Uint8Array(MAPS.peers.valueSize));
  }

  #hookDamage(): string | undefined {
    return this.#hooks.decapsulate.damage() ?? this.#hooks.encapsulate.damage() ??
      this.#groDevice.damage();
  }

  /** Without a GRO device the decapsulation program redirects packets to flannel0, so a refusal is no error. */
  #ensureGroDevice(arrival: BpfProgram): void {
    try {
      this.#monitor.setAddress(this.#groDevice.ensure(arrival));
      this.#groRefusal = undefined;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#monitor.setAddress(undefined);
      this.#groRefusal = error;
    }
  }

  /** Pins the maps. Called after the programs are attached, because the next agent adopts pinned maps. */
  #pinMaps(): void {
    for (const [name, map] of Object.entries(this.#maps)) {
      const path = `${this.#directory}/${name}`;
      if (!pathExists(path) || !isSameMap(path, map)) pin(map.fd, path);
    }
  }
}

function ethernetNames(netlink: Netlink): string[] {
  return netlink.links().filter(({ mac }) => mac !== undefined).map(({ name }) => name);
}

function preparePins(directory: string): void {
  ensureBpffs();
  makePinDirectory(directory);
}

function openMap(directory: string, name: MapName): BpfMap {
  const shape = MAPS[name];
  const fd = openPin(`${directory}/${name}`);
  if (fd === undefined) return BpfMap.create(`flanneld_${name}`, shape);
  const pinned = new BpfMap(fd, shape);
  if (BpfMap.hasShape(fd, shape)) return pinned;
  // A map of another version. Its programs use it until the new ones replace them.
  pinned[Symbol.dispose]();
  return BpfMap.create(`flanneld_${name}`, shape);
}

function isSameMap(path: string, map: BpfMap): boolean {
  const fd = openPin(path);
  if (fd === undefined) return false;
  using pinned = new BpfMap(fd, map.shape);
  return pinned.id === map.id;
}

/** Attaches a program that passes all packets, and detaches it at once. */
function probeAttachment(device: number): Attachment {
  using program = BpfProgram.load("flanneld_probe", PASS);
  try {
    using _link = TcxLink.attach(program, device, "egress");
    return "tcx";
  } catch (error) {
    // The kernel does not know the attach type.
    if (error instanceof SysError && error.errno === Errno.EINVAL) return "clsact";
    throw error;
  }
}
