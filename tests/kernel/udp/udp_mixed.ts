/**
 * Transfers datagrams of every kind, for tests of the udp data paths: `receive ADDRESS COUNT` prints "listening",
 * receives COUNT datagrams, or fewer if none arrives for two seconds, and prints `{count, digest}`; `send ADDRESS COUNT
 * SEED` sends them and prints the same. The digest covers payload and TOS byte of each datagram, in any order.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { ipv4ToBytes, parseIPv4 } from "../../../mod/ip/mod.ts";
import { Arena, Errno, errno, libc, unwrap } from "../../../mod/sys/mod.ts";
import {
  AF_INET,
  IP_MTU_DISCOVER,
  SO_RCVBUFFORCE,
  SO_SNDBUFFORCE,
  SOCK_DGRAM,
  SOL_IP,
  SOL_SOCKET,
} from "../../../mod/sys/linux_constants.ts";
import { SOL_UDP, UDP_SEGMENT } from "../../../backends/udp/user/socket/socket.ts";
import { isOlderKernel } from "../older_kernel.ts";
import { randomFrom } from "../../lab/random.ts";

const PORT = 5002;
/** socket(7), ip(7), udp(7): numbers of asm-generic/socket.h, linux/in.h, linux/udp.h. */
const SO_NO_CHECK = 11;
const SO_RCVTIMEO = 20;
const IP_TOS = 1;
const IP_OPTIONS = 4;
const IP_RECVTOS = 13;
const BUFFER = 64 << 20;

const bytesOf = (value: number) => {
  const bytes = new Uint8Array(new ArrayBuffer(4));
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
};

const option = (
  fd: number,
  level: number,
  name: number,
  value: number | Uint8Array<ArrayBuffer>,
) => {
  const bytes = typeof value === "number" ? bytesOf(value) : value;
  unwrap(`setsockopt ${name}`, libc().setsockopt(fd, level, name, bytes, bytes.length));
};

function socketAddress(address: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, PORT);
  bytes.set(ipv4ToBytes(parseIPv4(address)!), 4);
  return bytes;
}

/** A digest of datagrams that does not depend on their order. */
class Bag {
  readonly #digests: string[] = [];

  add(tos: number, payload: Uint8Array): void {
    this.#digests.push(createHash("sha1").update(Uint8Array.of(tos)).update(payload).digest("hex"));
  }

  get count(): number {
    return this.#digests.length;
  }

  print(): void {
    const digest = createHash("sha256").update(this.#digests.sort().join("")).digest("hex");
    console.log(JSON.stringify({ count: this.count, digest }));
  }
}

function receive(address: string, count: number): void {
  using arena = new Arena();
  const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM, 0));
  option(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER);
  option(fd, SOL_IP, IP_RECVTOS, 1);
  const timeout = new Uint8Array(new ArrayBuffer(16));
  timeout[0] = 2;
  option(fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
  unwrap("bind", libc().bind(fd, socketAddress(address), 16));
  console.log("listening");
  const payload = arena.allocate(65536);
  const control = arena.allocate(64);
  const iovec = arena.allocate(16);
  iovec.view.setBigUint64(0, payload.address, true);
  iovec.view.setBigUint64(8, 65536n, true);
  const message = arena.allocate(56);
  message.view.setBigUint64(16, iovec.address, true);
  message.view.setBigUint64(24, 1n, true);
  message.view.setBigUint64(32, control.address, true);
  const bag = new Bag();
  while (bag.count < count) {
    message.view.setBigUint64(40, 64n, true);
    const length = libc().recvmsg(fd, message.bytes, 0);
    if (length < 0) break;
    // struct cmsghdr: u64 length, i32 level, i32 type, then the byte.
    bag.add(control.bytes[16]!, payload.bytes.subarray(0, length));
  }
  bag.print();
}

/**
 * Before Linux 6.11 udp_send_skb() answers UDP_SEGMENT with EIO where the device has no checksum offload, as in
 * one-packet mode; programs then send single datagrams.
 */
const LACKS_SEGMENTS = isOlderKernel(6, 11);

async function send(address: string, count: number, seed: number): Promise<void> {
  const to = socketAddress(address);
  const random = randomFrom(seed);
  const bag = new Bag();
  const open = (set: (fd: number) => void) => {
    const fd = unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM, 0));
    option(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER);
    set(fd);
    return fd;
  };
  const sockets = {
    plain: open(() => {}),
    unsummed: open((fd) => option(fd, SOL_SOCKET, SO_NO_CHECK, 1)),
    // Without DF, so that the kernel fragments datagrams that exceed the path MTU.
    fragmented: open((fd) => option(fd, SOL_IP, IP_MTU_DISCOVER, 0)),
    // No-operation options.
    options: open((fd) => {
      const bytes = new Uint8Array(new ArrayBuffer(8)).fill(1);
      option(fd, SOL_IP, IP_OPTIONS, bytes);
    }),
    segmented: open(() => {}),
  };
  const kinds = Object.keys(sockets) as (keyof typeof sockets)[];
  let inFlight = 0;
  while (bag.count < count) {
    // The last ones are single datagrams, so that the number is exact.
    const kind = bag.count + 20 > count ? "plain" : kinds[random(kinds.length)]!;
    const fd = sockets[kind];
    // Not-ECT, ECT(1), ECT(0), CE; a DSCP now and then.
    const tos = random(4) | (random(3) === 0 ? 0x28 : 0);
    option(fd, SOL_IP, IP_TOS, tos);
    const segment = kind === "segmented" ? 64 + random(1300) : 0;
    const size = segment > 0
      ? Math.min(segment * (2 + random(12)) + random(segment), 60_000)
      : kind === "fragmented"
      ? 1400 + random(6601)
      : random(4) === 0
      ? random(30)
      : random(1430);
    const payload = new Uint8Array(new ArrayBuffer(size));
    for (let i = 0; i < size; i += 65536) crypto.getRandomValues(payload.subarray(i, i + 65536));
    if (segment > 0) option(fd, SOL_UDP, UDP_SEGMENT, segment);
    const datagrams: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at === 0 || at < size; at += segment || size || 1) {
      datagrams.push(payload.subarray(at, segment > 0 ? at + segment : size));
    }
    const sendOne = (bytes: Uint8Array<ArrayBuffer>) =>
      libc().sendto(fd, bytes, bytes.length, 0, to, 16);
    let sent = sendOne(payload);
    if (sent === -1 && segment > 0 && LACKS_SEGMENTS && errno() === Errno.EIO) {
      option(fd, SOL_UDP, UDP_SEGMENT, 0);
      for (const one of datagrams) sent = unwrap("sendto", sendOne(one));
    }
    unwrap(`sendto ${kind} ${size}`, sent);
    for (const one of datagrams) bag.add(tos, one);
    inFlight += size + 1000;
    if (inFlight > 100_000) {
      inFlight = 0;
      // Queues on the way hold no more, and nothing retransmits a datagram.
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  }
  bag.print();
}

const [mode, address, count, seed] = Deno.args;
if (mode === "receive") receive(address!, Number(count));
else await send(address!, Number(count), Number(seed));
