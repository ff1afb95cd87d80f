/**
 * The worker of the udp data path: blocks in poll(2) on the device, the socket and a wake-up
 * descriptor, and carries packets whenever there are any. It is started once with everything it
 * needs; from then on it shares memory with the main isolate and takes no messages, since nothing
 * could be delivered while it is in poll.
 *
 * @module
 */
import { Errno, SysError } from "../../../mod/sys/ffi/errno.ts";
import { errno, libc } from "../../../mod/sys/ffi/libc.ts";
import { Counter, WorkerCounters } from "./counters.ts";
import { Outbound } from "./outbound.ts";
import type { MergerOptions } from "./packet/merge.ts";
import { PacketMemory } from "./packet/memory.ts";
import { PeerLookup, type SharedPeerTable } from "./peer_lookup.ts";
import { Router } from "./router.ts";
import type { Socket } from "./socket/socket.ts";
import { TunQueue } from "./tun/tun_queue.ts";
import { UdpSocket } from "./socket/udp_socket.ts";

/** What a worker is started with. */
export interface WorkerStart {
  readonly tun: {
    readonly name: string;
    readonly fd: number;
    readonly segmentation: MergerOptions;
    readonly uncut: boolean;
  };
  readonly socket: Socket;
  /** UDP port of every peer. */
  readonly port: number;
  /** An eventfd(2): written to after `Word.Stop` is set. */
  readonly wake: number;
  readonly table: SharedPeerTable;
  readonly counters: SharedArrayBuffer;
}

/** What of the kernel's help is in use. */
export interface Offload {
  /** Super-packets to the device. */
  readonly tcp: boolean;
  readonly udp: boolean;
  /** And from it. */
  readonly uncut: boolean;
  /** Trains to and from the socket. */
  readonly trains: boolean;
  readonly coalescing: boolean;
  /** Checksums by vector instructions. */
  readonly vectors: boolean;
}

/** What a worker tells the main isolate. */
export type WorkerReport =
  | { readonly type: "running" | "offload"; readonly offload: Offload }
  | { readonly type: "ended" }
  | { readonly type: "failed"; readonly message: string };

/** poll(2): `struct pollfd` is an int and two shorts. */
const POLLFD = 8;
const POLLIN = 1;
/**
 * After the last packet the worker looks again every 3 ms, 20 times, before it sleeps for good: what
 * it runs has then not left the caches when the next packet of a conversation comes. It takes 1 % of a
 * processor at most, and nothing under load, when there is no such pause.
 */
const DOZE = 3;
const DOZES = 20;
/** What a {@linkcode waiter} of device, socket and wake-up descriptor tells of. */
const DEVICE = 1;
const SOCKET = 2;

/** Carries packets until the table says stop. */
function run(start: WorkerStart, report: (report: WorkerReport) => void): void {
  const memory = new PacketMemory(Outbound.MEMORY + UdpSocket.MEMORY + TunQueue.MEMORY);
  const device = new TunQueue(start.tun.fd, memory, start.tun.segmentation);
  const socket = new UdpSocket(start.socket, memory, { port: start.port });
  const peers = new PeerLookup(start.table);
  const counters = new WorkerCounters(start.counters);
  const router = new Router({ memory, device, socket, peers, counters });
  const wait = waiter(memory, [start.tun.fd, start.socket.fd, start.wake]);
  const inUse = (): Offload => ({
    ...device.segmentation,
    uncut: start.tun.uncut,
    trains: socket.segmentation,
    coalescing: start.socket.coalescing,
    vectors: memory.vectorized,
  });
  let reported = inUse();
  report({ type: "running", offload: reported });

  let ready = SOCKET | DEVICE;
  let slept = false;
  let dozes = 0;
  while (!peers.stopped) {
    // While there is work nobody polls, as in flannel's proxy: a call less for each batch. After a
    // sleep only what woke us is looked at: code and data that are cold cost more than calls.
    const received = ready & SOCKET ? check("recvmmsg", router.receive(), "udp socket") : 0;
    // To what was just handed to the kernel it may have answered already.
    const sent = ready & DEVICE || received > 0
      ? check("readv", router.send(slept), start.tun.name)
      : 0;
    if (received > 0 || sent > 0) {
      dozes = DOZES;
      // One packet after a sleep is a lone one: poll tells at once if it is not.
      if (!slept || received > 1 || sent > 1) {
        ready = SOCKET | DEVICE;
        slept = false;
        continue;
      }
    }
    const { tcp, udp } = device.segmentation;
    if (tcp !== reported.tcp || udp !== reported.udp || socket.segmentation !== reported.trains) {
      reported = inUse();
      report({ type: "offload", offload: reported });
    }
    ready = wait(dozes > 0 ? DOZE : -1);
    slept = true;
    if (ready !== 0) counters.values[Counter.wakeups]!++;
    else {
      // Both are looked at, since that is what keeps them in the caches.
      ready = SOCKET | DEVICE;
      dozes--;
    }
  }
}

/**
 * A function that blocks until one of the descriptors can be read, at most for a number of milliseconds
 * (-1: without end), and tells which: bit i for the i-th.
 */
function waiter(
  memory: PacketMemory,
  descriptors: readonly number[],
): (timeout: number) => number {
  const offset = memory.allocate(descriptors.length * POLLFD);
  for (const [i, fd] of descriptors.entries()) {
    memory.view.setInt32(offset + i * POLLFD, fd, true);
    memory.view.setInt16(offset + i * POLLFD + 4, POLLIN, true);
  }
  const set = memory.bytes.subarray(offset, offset + descriptors.length * POLLFD);
  // With a number for this 64-bit parameter V8 gives the compiled function up, as often as it is made
  // (deopt: not a BigInt), and each call goes by the slow way: 8 us of a wake-up.
  const count = BigInt(descriptors.length);
  return (timeout) => {
    if (libc().poll(set, count, timeout) < 0) {
      const error = errno();
      if (error !== Errno.EINTR) throw new SysError("poll", error);
      return 0;
    }
    let ready = 0;
    for (let i = 0; i < descriptors.length; i++) {
      // Errors too (POLLERR, POLLHUP, POLLNVAL): reading tells what they are.
      if (memory.view.getInt16(offset + i * POLLFD + 6, true) !== 0) ready |= 1 << i;
    }
    return ready;
  };
}

/**
 * Passes counts on. Errors are of two kinds: those of a moment (a peer's ICMP, no memory) count as
 * nothing received, and those that a descriptor will answer for ever (the device was deleted)
 * end the worker.
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
