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
import type { PeerTraffic } from "../user/data_path.ts";
import type { Abilities } from "./programs/encapsulate.ts";
import { everyStep } from "./run_all.ts";
import { GroHop, hopName } from "./gro/gro_device.ts";
import { ClsactHook, type Hook, TcxHook } from "./hook.ts";
import { type HopError, HopGate } from "./gro/gro_path_monitor.ts";
import { probeHop } from "./gro/gro_probe.ts";
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

/** How programs are attached: by TCX from Linux 6.6 on, by clsact filters before. */
export type Attachment = "tcx" | "clsact";

/** Options of {@linkcode KernelPath.open}. */
export interface KernelPathOptions {
  /** In the network namespace of the calling thread. */
  readonly netlink: Netlink;
  /** Directory for the pins, in the BPF file system; it is this path's alone. */
  readonly directory: string;
  /** What the programs will be made of; `own` may be any prefix yet. */
  readonly settings: PathSettings;
  /** Name of the TUN device. */
  readonly device: string;
  /** @default the first that the kernel has */
  readonly attachment?: Attachment | undefined;
  /** As of {@linkcode HopGate}. */
  readonly hopPause?: number | undefined;
}

/** `struct bpf_insn[]`: what is attached to learn whether that can be done. */
const PASS = new Assembler().mov(R0, Verdict.TC_ACT_UNSPEC).exit().assemble();

/**
 * The udp backend's packets inside the kernel: two programs, the maps that they read, and what keeps both
 * there when the agent ends.
 *
 * It carries what {@linkcode KernelPath.sync} says from then on, whether an agent runs or not. What it does not
 * carry it hands on, so the user-space path runs behind it, with the same device and the same peers.
 */
export class KernelPath implements Disposable {
  readonly attachment: Attachment;
  readonly #directory: string;
  readonly #maps: Readonly<Record<MapName, BpfMap>>;
  /** In the order of attaching: a host that sends must be able to receive. */
  readonly #hooks: { readonly decapsulate: Hook; readonly encapsulate: Hook };
  readonly #hop: GroHop;
  readonly #gate: HopGate;
  #hopRefusal: SysError | undefined;
  readonly #routes = new Map<number, KernelRoute>();
  /** How many subnets a host holds. */
  readonly #leases = new Map<IPv4, number>();
  /** Hosts whose packets come by the hop, where it is open. */
  readonly #carried = () => {
    const carried = [...this.#routes.values()].filter((route) => route.carried);
    return new Set(carried.map(({ publicIP }) => publicIP));
  };
  readonly #abilities: Abilities;
  #settings: PathSettings | undefined;

  private constructor(
    { netlink, directory, device, hopPause }: KernelPathOptions,
    attachment: Attachment,
    maps: Readonly<Record<MapName, BpfMap>>,
    abilities: Abilities,
  ) {
    this.#abilities = abilities;
    this.attachment = attachment;
    this.#directory = directory;
    this.#maps = maps;
    const hop = hopName(device);
    this.#hop = new GroHop(
      netlink,
      device,
      attachment === "tcx"
        ? new TcxHook(`${directory}/hop_arrival`, "ingress")
        : ClsactHook.hop(netlink, [hop], device),
    );
    this.#gate = new HopGate({
      ...{ name: hop, maps, pause: hopPause },
      probe: (peers) => probeHop({ netlink, maps, settings: this.#settings!, peers }),
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
   * Takes over what an earlier agent left, or makes it anew. Nothing is carried that was not before.
   *
   * @throws {BpfError} when the verifier refuses a program
   * @throws {SysError} when the kernel refuses maps, pins or attaching: EPERM without the privilege or
   * under lockdown, EINVAL for what it does not know, EROFS where nothing can be pinned
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
   * Brings everything to what is asked for: entries of the maps by difference, then programs. The first call
   * starts the carrying; after an earlier agent not one packet goes another way.
   *
   * @throws {SysError} when the kernel refuses; what was carried is carried on
   */
  sync(settings: PathSettings, routes: Iterable<KernelRoute>): void {
    // Whoever removed the pins may have removed their directory, or the file system.
    preparePins(this.#directory);
    const wanted = new Map<number, KernelRoute>();
    for (const route of routes) wanted.set(route.subnet.key, route);
    this.#syncMaps(wanted);
    const isSame = JSON.stringify(this.#settings) === JSON.stringify(settings);
    if (!isSame || this.#hookDamage() !== undefined) {
      this.#settings = undefined;
      using programs = loadPrograms(settings, this.#abilities, this.#maps);
      const { encapsulate, decapsulate, hopArrival } = programs;
      this.#ensureHop(hopArrival);
      this.#hooks.decapsulate.ensure(decapsulate, settings.underlay);
      this.#hooks.encapsulate.ensure(encapsulate, settings.device);
      this.#settings = settings;
    }
    this.#gate.settle(this.#carried);
    this.#pinMaps();
  }

  /**
   * Adds a subnet, or changes its holder or its way. One call into the kernel, or two.
   *
   * @throws {SysError} ENOMEM; the subnet is then none of this path's
   */
  setRoute(route: KernelRoute): void {
    const { subnet, publicIP } = route;
    const before = this.#routes.get(subnet.key);
    this.#hold(publicIP);
    try {
      this.#maps.routes.update(routeKey(subnet), routeValue(route));
    } catch (error) {
      this.#release(publicIP);
      // Its former holder is not to get what is the present one's.
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
   * What of ours somebody took away since the last {@linkcode KernelPath.sync}, which puts it back. The
   * kernel has no events for that: it costs a dozen system calls to look.
   */
  damage(): string | undefined {
    if (this.#settings === undefined) return undefined;
    const unpinned = Object.keys(MAPS).find((name) => !pathExists(`${this.#directory}/${name}`));
    return this.#hookDamage() ?? (unpinned && `map ${unpinned} unpinned`) ??
      this.#gate.look(this.#carried);
  }

  /** True when both programs are where the last {@linkcode KernelPath.sync} has put them. */
  get isAttached(): boolean {
    return this.#settings !== undefined;
  }

  /** The device that TCP for containers comes in by, or why there is none; before the first sync() neither. */
  get hop(): string | SysError | HopError | undefined {
    if (this.#settings === undefined) return undefined;
    return this.#hopRefusal ?? this.#gate.error ?? this.#hop.name;
  }

  /** Drops by reason, since the maps were made. */
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
   * Ends the carrying and takes everything out of the kernel.
   *
   * @throws {SysError} when something could not be taken; the rest is gone
   */
  remove(): void {
    this.#settings = undefined;
    everyStep([
      () => this.#hooks.encapsulate.remove(),
      () => this.#hooks.decapsulate.remove(),
      () => this.#hop.remove(),
      () => removePinDirectory(this.#directory),
    ]);
  }

  /** Lets go of it; what is in the kernel stays and goes on. */
  [Symbol.dispose](): void {
    for (const hook of Object.values(this.#hooks)) hook[Symbol.dispose]();
    this.#hop[Symbol.dispose]();
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
    const right = new Set<number>();
    for (const key of routes.keys()) {
      const subnet = readRouteKey(key);
      const route = wanted.get(subnet.key);
      if (route === undefined) {
        stale.push(key);
        continue;
      }
      const value = routes.lookup(key);
      if (value === undefined) continue;
      const { publicIP, carried } = readRouteValue(value);
      if (publicIP === route.publicIP && carried === route.carried) right.add(subnet.key);
    }
    // There may be room only then.
    for (const key of stale) routes.delete(key);
    for (const [key, route] of wanted) {
      if (!right.has(key)) routes.update(routeKey(route.subnet), routeValue(route));
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
      this.#hop.damage();
  }

  /** Packets find another way where there is no hop: a refusal ends nothing. */
  #ensureHop(arrival: BpfProgram): void {
    try {
      this.#gate.lead(this.#hop.ensure(arrival));
      this.#hopRefusal = undefined;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#gate.lead(undefined);
      this.#hopRefusal = error;
    }
  }

  /** After the programs: half a path that is pinned would be adopted. */
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
  // Another version's. Its programs go on with it until ours take their place.
  pinned[Symbol.dispose]();
  return BpfMap.create(`flanneld_${name}`, shape);
}

function isSameMap(path: string, map: BpfMap): boolean {
  const fd = openPin(path);
  if (fd === undefined) return false;
  using pinned = new BpfMap(fd, map.shape);
  return pinned.id === map.id;
}

/** Attaches a program that does nothing, for a moment. */
function probeAttachment(device: number): Attachment {
  using program = BpfProgram.load("flanneld_probe", PASS);
  try {
    using _link = TcxLink.attach(program, device, "egress");
    return "tcx";
  } catch (error) {
    // An attach type that the kernel does not know.
    if (error instanceof SysError && error.errno === Errno.EINVAL) return "clsact";
    throw error;
  }
}
