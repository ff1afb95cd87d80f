import type { IPv4, Prefix } from "../../../mod/ip/mod.ts";
import { closeDescriptor } from "../../../mod/sys/ffi/libc.ts";
import { EventFd } from "../../../mod/sys/ffi/poller.ts";
import { inNetworkNamespace } from "../../../mod/sys/namespace.ts";
import { type CounterName, Counters, WorkerCounters } from "./counters.ts";
import { PeerTable } from "./peer_table.ts";
import { disableGro, openSocket, type Socket } from "./socket/socket.ts";
import type { PathTraffic, PeerTraffic } from "../traffic.ts";
import { closeTun, openTun, type Tun } from "./tun/tun.ts";
import type { Offload, WorkerReport, WorkerStart } from "./worker.ts";

/** Options of {@linkcode UdpDataPath.open}. */
export interface UdpDataPathOptions {
  /** All leases lie in it. */
  readonly network: Prefix;
  /** Prefix length of most leases. */
  readonly subnetLen: number;
  /** Name of the TUN device. @default "flannel0" */
  readonly device?: string;
  /** Address the socket is bound to: that of the external interface. */
  readonly address: IPv4;
  /** UDP port of this host and of every peer. @default 8285 */
  readonly port?: number;
  /** Number of workers, each with a queue of the device and a socket. @default 1 */
  readonly workers?: number;
  /** GSO packets from the device (TSO, USO). @default true */
  readonly deviceOffload?: boolean;
  /** UDP_SEGMENT and UDP_GRO on the socket. @default true */
  readonly socketOffload?: boolean;
  /** Take datagrams from any address, with any inner source. @default false */
  readonly acceptAny?: boolean;
  /** Refuse inner sources outside the network. @default false */
  readonly strictSource?: boolean;
  /** Path of the network namespace of device and socket. @default the process's own */
  readonly netns?: string | undefined;
  /** Called with the remaining offloads when the kernel has refused one. @default does nothing */
  readonly onOffloadLost?: (left: Offload) => void;
}

/** The user-space path failed; the message gives the reason. */
export class DataPathError extends Error {
  override readonly name = "DataPathError";
}

/**
 * The user-space path: a TUN device, a UDP socket and the workers between them.
 *
 * It creates the device. The caller sets its address, routes and MTU ({@linkcode UdpDataPath.OVERHEAD} less than the
 * link's) and brings it up. The device and its configuration stay when the path is closed or the process killed, and
 * the next path attaches to it.
 *
 * @example
 * ```ts ignore
 * const path = await UdpDataPath.open({ network, subnetLen: 24, address, port: 8285 });
 * path.setOwn(lease.subnet);
 * path.setPeer(peer.subnet, peer.attributes.publicIP);
 * path.failed.catch((error) => reopen(error));
 * ```
 */
export class UdpDataPath implements AsyncDisposable {
  /** IPv4 and UDP header around each packet, in bytes. */
  static readonly OVERHEAD = 28;

  /** Name of the device. */
  readonly device: string;
  /**
   * Rejects with a {@linkcode DataPathError} when a worker fails, for example because the device was deleted. The path
   * then carries no packets: close it and open another. Never resolves.
   */
  readonly failed: Promise<never>;
  readonly #tun: Tun;
  readonly #sockets: readonly Socket[];
  readonly #table: PeerTable;
  readonly #counters: Counters;
  readonly #workers: readonly PathWorker[];
  #closed: Promise<void> | undefined;

  private constructor(
    tun: Tun,
    sockets: readonly Socket[],
    table: PeerTable,
    counters: Counters,
    workers: readonly PathWorker[],
  ) {
    this.device = tun.name;
    this.#tun = tun;
    this.#sockets = sockets;
    this.#table = table;
    this.#counters = counters;
    this.#workers = workers;
    this.failed = Promise.race(workers.map((worker) => worker.failed));
    // Without a handler the rejection would end the process.
    this.failed.catch(() => {});
  }

  /**
   * Opens device and socket and starts the workers. Resolves when they run; they drop all packets until
   * {@linkcode UdpDataPath.setOwn} and {@linkcode UdpDataPath.setPeer} are called.
   *
   * @throws {SysError} when the kernel refuses the device (see `openTun`) or the port (EADDRINUSE)
   * @throws {RangeError} when subnetLen does not fit the network
   * @throws {DataPathError} when a worker does not start
   */
  static async open(options: UdpDataPathOptions): Promise<UdpDataPath> {
    const { address, port = 8285, workers: count = 1, netns } = options;
    const table = new PeerTable(options);
    await using cleanup = new AsyncDisposableStack();
    // Descriptors stay in the namespace in which they were created.
    const tun = inNetworkNamespace(netns, () =>
      openTun({
        name: options.device ?? "flannel0",
        queues: count,
        segmentation: options.deviceOffload ?? true,
      }));
    cleanup.defer(() => closeTun(tun));
    const sockets: Socket[] = [];
    cleanup.defer(() => sockets.forEach(({ fd }) => closeDescriptor(fd)));
    for (let i = 0; i < count; i++) {
      const offload = options.socketOffload ?? true;
      const socket = { address, port, shared: count > 1 };
      sockets.push(
        inNetworkNamespace(
          netns,
          () => openSocket({ ...socket, gso: offload, gro: offload }),
        ),
      );
    }
    const memories = sockets.map(() => WorkerCounters.allocate(table.capacity));
    const workers: PathWorker[] = [];
    cleanup.defer(async () => {
      table.stop();
      await Promise.all(workers.map((worker) => worker.end()));
    });
    for (const [i, socket] of sockets.entries()) {
      const { name, segmentation, tso } = tun;
      workers.push(
        new PathWorker({
          tun: { name, segmentation, tso, fd: tun.descriptors[i]! },
          ...{ socket, port, table: table.shared, counters: memories[i]! },
        }, options.onOffloadLost),
      );
    }
    await Promise.all(workers.map((worker) => worker.running));
    cleanup.move();
    return new UdpDataPath(tun, sockets, table, new Counters(memories), workers);
  }

  /** Sets this host's lease: packets from peers to other addresses are dropped. */
  setOwn(lease: Prefix | undefined): void {
    this.#table.setOwn(lease);
  }

  /**
   * Sends packets to `subnet` to a peer, and accepts packets with a source in `subnet` from that peer only. Takes
   * effect at once, without interruption.
   *
   * @throws {RangeError} when the subnet is not in the network, or is longer than the table can route
   */
  setPeer(subnet: Prefix, publicIP: IPv4): void {
    this.#counters.begin({ publicIP, index: this.#table.set(subnet, publicIP) });
  }

  /** Drops inner sources outside the network, or accepts them. Takes effect at once. */
  setStrictSource(isStrict: boolean): void {
    this.#table.setStrictSource(isStrict);
  }

  /** Removes a peer's subnet; ignores an unknown one. */
  removePeer(subnet: Prefix): void {
    this.#table.remove(subnet);
  }

  /** Turns UDP_GRO off: the kernel path, which comes first, carries single datagrams only. */
  disableGro(): void {
    for (const { fd } of this.#sockets) disableGro(fd);
  }

  /** Number of routed leases. */
  get leases(): number {
    return this.#table.size;
  }

  /** Offloads in use; fewer than at the start after the kernel has refused one. */
  offload(): Offload {
    const each = this.#workers.map((worker) => worker.offload);
    const all = (read: (offload: Offload) => boolean) => each.every(read);
    return {
      tcp: all(({ tcp }) => tcp),
      udp: all(({ udp }) => udp),
      tso: all(({ tso }) => tso),
      udpGso: all(({ udpGso }) => udpGso),
      udpGro: all(({ udpGro }) => udpGro),
      simdChecksum: all(({ simdChecksum }) => simdChecksum),
    };
  }

  /** Packets, bytes and drops by reason since the start. */
  counters(): Record<CounterName, number> {
    return this.#counters.totals();
  }

  /** Traffic by peer. */
  traffic(): PeerTraffic[] {
    return [...this.#table.peers()].map((peer) => ({
      publicIP: peer.publicIP,
      ...this.#counters.peer(peer),
    }));
  }

  /** Traffic by peer and all counters. */
  pathTraffic(): PathTraffic {
    return { peers: this.traffic(), counters: this.counters() };
  }

  /** Ends the workers and closes socket and device. The device stays, with its routes. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#table.stop();
    await Promise.all(this.#workers.map((worker) => worker.end()));
    for (const { fd } of this.#sockets) closeDescriptor(fd);
    closeTun(this.#tun);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The main isolate's handle of a worker. */
class PathWorker {
  readonly running: Promise<void>;
  readonly failed: Promise<never>;
  offload: Offload = {
    ...{ tcp: false, udp: false, tso: false },
    ...{ udpGso: false, udpGro: false, simdChecksum: false },
  };
  readonly #worker: Worker;
  readonly #wake = new EventFd();
  readonly #ended = Promise.withResolvers<void>();

  constructor(
    start: Omit<WorkerStart, "wake">,
    onOffloadLost: (left: Offload) => void = () => {},
  ) {
    const running = Promise.withResolvers<void>();
    const failed = Promise.withResolvers<never>();
    this.running = running.promise;
    this.failed = failed.promise;
    const fail = (message: string) => {
      const error = new DataPathError(`the udp data path has stopped: ${message}`);
      running.reject(error);
      failed.reject(error);
      this.#ended.resolve();
    };
    failed.promise.catch(() => {});
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name: "udp data path",
    });
    this.#worker.onmessage = ({ data }: MessageEvent<WorkerReport>) => {
      switch (data.type) {
        case "running":
          this.offload = data.offload;
          return running.resolve();
        case "offload":
          this.offload = data.offload;
          return onOffloadLost(data.offload);
        case "ended":
          return this.#ended.resolve();
        case "failed":
          return fail(data.message);
      }
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      fail(event.message);
    };
    this.#worker.postMessage({ ...start, wake: this.#wake.fd } satisfies WorkerStart);
  }

  /** Wakes the worker after the peer table's stop flag was set, and waits until it ends. */
  async end(): Promise<void> {
    this.#wake.notify();
    await this.#ended.promise;
    this.#worker.terminate();
    this.#wake[Symbol.dispose]();
  }
}
