/**
 * Changes the kernel objects of flanneld's vxlan into those that flannel 0.7.1 finds after its own restart.
 *
 * flannel 0.7.1 has one route for the whole network, without a gateway. It answers the kernel's request for the
 * neighbour of each container (an L3 miss) with an entry that ages. It does not use routes of single peers or
 * permanent neighbours, and leaves them in place, so a peer with a new VTEP MAC would stay unreachable.
 *
 * @module
 */
import type { IPv4, Prefix } from "../../mod/ip/mod.ts";
import {
  type KernelEvent,
  type Link,
  type Mac,
  monitor,
  type Neighbour,
  type Netlink,
  type Operation,
  type Route,
} from "../../mod/sys/mod.ts";
import { NUD_REACHABLE, RTPROT_FLANNEL } from "../reconcile.ts";
import {
  NUD_PERMANENT,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTPROT_BOOT,
} from "../../mod/sys/linux_constants.ts";

/** How long misses are answered after the peers' routes are gone, in milliseconds. */
const ANSWER_MS = 3_000;

/** Number of the kernel's requests to user space for a neighbour, as flannel 0.7.1 sets it. */
const APP_SOLICIT = "3";

/** Next hop of a peer's packets. */
export interface HandedOverPeer {
  readonly subnet: Prefix;
  readonly mac: Mac;
  /** Of a peer that was reached without the device (DirectRouting), and has no FDB entry yet. */
  readonly direct?: { readonly publicIP: IPv4; readonly route: Route };
}

/** Hands one device over, in three steps to be called in order. */
export class VxlanHandOver {
  /** The neighbours that would never age. */
  readonly permanent: readonly Neighbour[];
  /** The routes of single peers by the device. */
  readonly routes: readonly Route[];
  /** The route that carries them all; `undefined` when it exists. */
  readonly missingRoute: Route | undefined;
  readonly #netlink: Netlink;
  readonly #device: Link;
  readonly #peers: readonly HandedOverPeer[];
  readonly #direct: readonly HandedOverPeer[];
  #isCarried = false;

  /**
   * @param network all containers' network, which the device serves
   * @param direct peers that are reached without the device
   */
  constructor(
    netlink: Netlink,
    device: Link,
    network: Prefix,
    direct: readonly HandedOverPeer[] = [],
  ) {
    this.#netlink = netlink;
    this.#device = device;
    this.#direct = direct;
    const { index } = device;
    const routes = netlink.routes({ table: RT_TABLE_MAIN, oif: index });
    this.routes = routes.filter(({ protocol }) => protocol === RTPROT_FLANNEL);
    this.permanent = netlink.neighbours({ index }).filter(({ state }) => state === NUD_PERMANENT);
    const macs = new Map(this.permanent.map(({ address, mac }) => [address, mac]));
    const tunnelled = this.routes.flatMap(({ destination: subnet, gateway }) => {
      const mac = gateway === undefined ? undefined : macs.get(gateway);
      return mac === undefined ? [] : [{ subnet, mac }];
    });
    this.#peers = [...tunnelled, ...direct];
    this.missingRoute =
      routes.some(({ destination, protocol }) =>
          destination.equals(network) && protocol !== RTPROT_FLANNEL
        )
        ? undefined
        : {
          ...{ destination: network, oif: index, protocol: RTPROT_BOOT, onlink: false, metric: 0 },
          ...{ scope: RT_SCOPE_UNIVERSE, table: RT_TABLE_MAIN },
        };
  }

  /**
   * Adds the route for the whole network, which carries nothing yet: those of the peers are more specific.
   *
   * @throws {SysError} when the kernel refuses
   * @throws {Deno.errors.PermissionDenied} when /proc/sys cannot be written
   */
  addRoute(): void {
    const path = `/proc/sys/net/ipv4/neigh/${this.#device.name}/app_solicit`;
    Deno.writeTextFileSync(path, APP_SOLICIT);
    const { missingRoute: object } = this;
    this.#execute([
      ...(object === undefined ? [] : [{ op: "add", kind: "route", object } as const]),
      ...this.#direct.map(({ mac, direct }): Operation => ({
        ...{ op: "replace", kind: "fdb" },
        object: {
          ...{ index: this.#device.index, mac, destination: direct!.publicIP },
          state: NUD_PERMANENT,
        },
      })),
    ]);
    this.#isCarried = true;
  }

  /** Lets permanent neighbours age from now on, with the MAC that they have. @throws {SysError} */
  ageNeighbours(): void {
    this.#execute(this.permanent.map((one) => replace({ ...one, state: NUD_REACHABLE })));
  }

  /**
   * Removes the peers' routes. For three seconds it then answers the kernel's requests for neighbours of
   * containers, as flannel 0.7.1 does. Connections in use go on while such an entry lasts without a daemon, 20
   * s or more.
   *
   * @throws {Error} when {@linkcode addRoute} has failed
   * @throws {SysError} when the kernel refuses
   */
  async removeRoutes(signal: AbortSignal): Promise<void> {
    if (!this.#isCarried) throw new Error("there is no route for the whole network in their place");
    const listening = new AbortController();
    const end = () => listening.abort();
    const events = monitor(["neighbour"], { signal: listening.signal });
    const timer = setTimeout(end, ANSWER_MS);
    signal.addEventListener("abort", end);
    try {
      await this.#answer(events);
    } finally {
      end();
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }

  async #answer(events: AsyncIterable<KernelEvent[]>): Promise<void> {
    const direct = this.#direct.map(({ direct }) => direct!.route);
    this.#execute(
      [...this.routes, ...direct].map((object) => ({ op: "delete", kind: "route", object })),
    );
    for await (const group of events) {
      const answers = group.flatMap((event) => {
        if (event.type !== "neighbour-miss") return [];
        const { index, address } = event.neighbour;
        const peer = this.#peers.find(({ subnet }) => subnet.contains(address));
        if (index !== this.#device.index || peer === undefined) return [];
        return [replace({ index, address, mac: peer.mac, state: NUD_REACHABLE })];
      });
      this.#execute(answers);
    }
  }

  #execute(operations: readonly Operation[]): void {
    const [failure] = this.#netlink.execute(operations).failures;
    if (failure !== undefined) throw failure.error;
  }
}

function replace(object: Neighbour): Operation {
  return { op: "replace", kind: "neighbour", object };
}
