/**
 * The worker of the user-space path. It blocks in poll(2) on the device, the socket and a wake-up descriptor, and
 * carries packets. The main isolate sends it one message at the start and controls it by shared memory from then
 * on, because the runtime delivers no message to a thread that blocks in poll.
 *
 * @module
 */
import { Errno, SysError } from "../../../mod/sys/ffi/errno.ts";
import { Poller } from "../../../mod/sys/ffi/poller.ts";
import { Counter, WorkerCounters } from "./counters.ts";
import { Outbound } from "./outbound.ts";
import type { MergerOptions } from "./packet/merge.ts";
import { PacketMemory } from "./packet/memory.ts";
import { PeerLookup, type SharedPeerTable } from "./peer_lookup.ts";
import { Router } from "./router.ts";
import type { Socket } from "./socket/socket.ts";
import { TunQueue } from "./tun/tun_queue.ts";
import { UdpSocket } from "./socket/udp_socket.ts";

/** First and only message to a worker. */
export interface WorkerStart {
  readonly tun: {
    readonly name: string;
    readonly fd: number;
    readonly segmentation: MergerOptions;
    readonly tso: boolean;
  };
  readonly socket: Socket;
  /** UDP port of every peer. */
  readonly port: number;
  /** An eventfd(2), written after `Word.Stop` is set. */
  readonly wake: number;
  readonly table: SharedPeerTable;
  readonly counters: SharedArrayBuffer;
}

/** Offloads in use. */
export interface Offload {
  /** TCP GSO packets are written to the device. */
  readonly tcp: boolean;
  /** UDP GSO packets are written to the device. */
  readonly udp: boolean;
  /** TCP GSO packets are read from the device. */
  readonly tso: boolean;
  /** Segment batches are sent by UDP_SEGMENT. */
  readonly udpGso: boolean;
  /** Segment batches are received by UDP_GRO. */
  readonly udpGro: boolean;
  /** Checksums are computed by SIMD instructions. */
  readonly simdChecksum: boolean;
}

/** Message of a worker to the main isolate. */
export type WorkerReport =
  | { readonly type: "running" | "offload"; readonly offload: Offload }
  | { readonly type: "ended" }
  | { readonly type: "failed"; readonly message: string };

/**
 * Interval and number of idle polls: after the last packet the worker reads device and socket every 3 ms, 20 times,
 * before it blocks without a timeout. That keeps code and data in the caches until the next packet of a conversation.
 * It takes at most 1 % of a processor, and nothing under load.
 */
const IDLE_POLL_MS = 3;
const IDLE_POLLS = 20;
/** Bits in the result of {@linkcode Poller.wait} for device, socket and wake-up descriptor. */
const DEVICE = 1;
const SOCKET = 2;

/** Carries packets until the peer table's stop flag is set. */
function run(start: WorkerStart, report: (report: WorkerReport) => void): void {
  const memory = new PacketMemory(Outbound.MEMORY + UdpSocket.MEMORY + TunQueue.MEMORY);
  const device = new TunQueue(start.tun.fd, memory, start.tun.segmentation);
  const socket = new UdpSocket(start.socket, memory, { port: start.port });
  const peers = new PeerLookup(start.table);
  const counters = new WorkerCounters(start.counters);
  const router = new Router({ memory, device, socket, peers, counters });
  using poller = new Poller([start.tun.fd, start.socket.fd, start.wake]);
  const inUse = (): Offload => ({
    ...device.segmentation,
    tso: start.tun.tso,
    udpGso: socket.gso,
    udpGro: start.socket.gro,
    simdChecksum: memory.simdChecksum,
  });
  let reported = inUse();
  report({ type: "running", offload: reported });

  let ready = SOCKET | DEVICE;
  let slept = false;
  let idlePolls = 0;
  while (!peers.stopped) {
    // Without poll while there are packets, as in flannel's proxy, which saves a call for each batch. After a sleep
    // only the ready descriptor is read, because running cold code costs more than a call.
    const received = ready & SOCKET ? check("recvmmsg", router.receive(), "udp socket") : 0;
    // The kernel may have answered the packets just written, so the device is read too.
    const sent = ready & DEVICE || received > 0
      ? check("readv", router.send(slept), start.tun.name)
      : 0;
    if (received > 0 || sent > 0) {
      idlePolls = IDLE_POLLS;
      // A single packet after a sleep is usually alone; poll returns at once if it is not.
      if (!slept || received > 1 || sent > 1) {
        ready = SOCKET | DEVICE;
        slept = false;
        continue;
      }
    }
    const { tcp, udp } = device.segmentation;
    if (tcp !== reported.tcp || udp !== reported.udp || socket.gso !== reported.udpGso) {
      reported = inUse();
      report({ type: "offload", offload: reported });
    }
    ready = poller.wait(idlePolls > 0 ? IDLE_POLL_MS : -1);
    slept = true;
    if (ready !== 0) counters.values[Counter.wakeups]!++;
    else {
      // An idle poll reads both, to keep their code in the caches.
      ready = SOCKET | DEVICE;
      idlePolls--;
    }
  }
}

/**
 * Returns a count, or a transient error (a peer's ICMP error, no memory).
 *
 * @throws {SysError} for an error that does not pass, such as of a deleted device
 */
function check(syscall: string, result: number, subject: string): number {
  switch (-result) {
    case Errno.EBADF:
    case Errno.EBADFD:
    case Errno.EFAULT:
    case Errno.EINVAL:
    case Errno.ENODEV:
    case Errno.ENOTSOCK:
      throw new SysError(syscall, -result, { subject });
    default:
      return result;
  }
}

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<WorkerStart>) => void) | null;
  postMessage(report: WorkerReport): void;
};

scope.onmessage = ({ data }) => {
  try {
    run(data, (report) => scope.postMessage(report));
    scope.postMessage({ type: "ended" });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    scope.postMessage({ type: "failed", message });
  }
};
