/**
 * Pings from every host to every other each 10 ms, on a thread of its own: it makes the sockets inside
 * of the hosts' namespaces, so that no process has to run there.
 *
 * They are datagrams that this thread answers, and not ICMP echo requests. The kernel answers those of all
 * namespaces by one socket for each processor, whose send buffer is full while replies of some lab
 * wait for a neighbour that does not answer; then no namespace of the machine answers any.
 *
 * @module
 */
import { type IPv4, parseIPv4 } from "../../mod/ip/mod.ts";
import {
  AF_INET,
  MSG_DONTWAIT,
  SO_RCVBUFFORCE,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "../../mod/sys/linux_constants.ts";
import {
  closeDescriptor,
  errno,
  inNetworkNamespace,
  libc,
  SysError,
  unwrap,
} from "../../mod/sys/mod.ts";
import { PingLedger, type PingReport } from "./ping_ledger.ts";

/** Between two rounds, in milliseconds; longer where the machine has no time for this thread. */
const INTERVAL_MS = 10;
const REPORT_MS = 250;

/** echo(7) is 7; this one is unassigned. */
const PORT = 4007;

/** Datagrams that wait for a neighbour are in it, and leave room for others. */
const BUFFER_BYTES = 8 << 20;

/** As ping(8) sends: request or reply, indices of sender and receiver, sequence number, padding. */
const LENGTH = 56;

/** struct sockaddr_in. */
const SOCKADDR_IN = 16;

const REQUEST = 0;
const REPLY = 1;

/** A request to the worker. */
export type PingRequest =
  /** Pings from and to an address of a host from now on; without an address no longer. */
  | { readonly host: number; readonly netns: string; readonly address: string | undefined }
  | { readonly host: number; readonly isUnaffected: boolean };

/** The worker's report, several times a second. */
export interface PingAnswer {
  readonly report: PingReport;
  /** Milliseconds between two rounds of pings, at most, since the last report. */
  readonly longestPauseMs: number;
  /** Rounds of pings since the last report. */
  readonly rounds: number;
}

interface Pinged {
  readonly fd: number;
  /** struct sockaddr_in of its address. */
  readonly name: Uint8Array<ArrayBuffer>;
}

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<PingRequest>) => void;
  postMessage(answer: PingAnswer): void;
};

const hosts = new Map<number, Pinged>();
const ledger = new PingLedger();
/** Off V8's heap, where typed arrays may move. */
const packet = new DataView(new ArrayBuffer(4096));
const bytes = new Uint8Array(packet.buffer);

scope.onmessage = ({ data }) => {
  if ("isUnaffected" in data) return ledger.setUnaffected(data.host, data.isUnaffected);
  const known = hosts.get(data.host);
  if (known !== undefined) closeDescriptor(known.fd);
  hosts.delete(data.host);
  const address = data.address === undefined ? undefined : parseIPv4(data.address);
  if (address !== undefined) hosts.set(data.host, open(data.netns, address));
};

function open(netns: string, address: IPv4): Pinged {
  const name = new Uint8Array(new ArrayBuffer(SOCKADDR_IN));
  const view = new DataView(name.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, PORT);
  view.setUint32(4, address);
  const fd = inNetworkNamespace(
    netns,
    () => unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
  );
  const size = new Uint8Array(new ArrayBuffer(4));
  new DataView(size.buffer).setInt32(0, BUFFER_BYTES, true);
  for (const option of [SO_RCVBUFFORCE, SO_SNDBUFFORCE]) {
    unwrap("setsockopt", libc().setsockopt(fd, SOL_SOCKET, option, size, 4));
  }
  unwrap("bind", libc().bind(fd, name, SOCKADDR_IN));
  return { fd, name };
}

/** @returns 0, or the error number */
function sendDatagram(from: Pinged, to: Pinged): number {
  const sent = libc().sendto(from.fd, bytes, LENGTH, MSG_DONTWAIT, to.name, SOCKADDR_IN);
  return sent === -1 ? errno() : 0;
}

/** Takes all that has arrived, and answers requests. */
function receive(): void {
  const nowMs = performance.now();
  for (const [index, host] of hosts) {
    while (libc().recv(host.fd, bytes, bytes.length, MSG_DONTWAIT) === LENGTH) {
      const [kind, from, to] = [packet.getUint8(0), packet.getUint8(1), packet.getUint8(2)];
      if (kind === REPLY && from === index) ledger.answer(from, packet.getUint32(4), nowMs);
      const asker = hosts.get(from);
      if (kind !== REQUEST || to !== index || asker === undefined) continue;
      packet.setUint8(0, REPLY);
      sendDatagram(host, asker);
    }
  }
}

function send(): void {
  for (const [from, sender] of hosts) {
    for (const [to, receiver] of hosts) {
      if (from === to) continue;
      const sequence = ledger.send(from, to, performance.now());
      packet.setUint8(0, REQUEST);
      packet.setUint8(1, from);
      packet.setUint8(2, to);
      packet.setUint32(4, sequence);
      const error = sendDatagram(sender, receiver);
      if (error !== 0) ledger.refuse(from, sequence, new SysError("sendto", error).message);
    }
  }
}

let lastMs = performance.now();
let longestPauseMs = 0;
let rounds = 0;
let reportedMs = lastMs;

function turn(): void {
  // Requests first, then the replies to them.
  receive();
  receive();
  ledger.expire(performance.now());
  send();
  rounds++;
  const nowMs = performance.now();
  longestPauseMs = Math.max(longestPauseMs, nowMs - lastMs);
  lastMs = nowMs;
  if (nowMs - reportedMs >= REPORT_MS) {
    const indices = [...hosts.keys()];
    const pairs = indices.flatMap((from) =>
      indices.filter((to) => to !== from).map((to) => `${from} to ${to}`)
    );
    scope.postMessage({ report: ledger.report(nowMs, pairs), longestPauseMs, rounds });
    [reportedMs, longestPauseMs, rounds] = [nowMs, 0, 0];
  }
}

setInterval(turn, INTERVAL_MS);
