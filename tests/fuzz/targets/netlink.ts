/** The kernel's replies and multicasts, as rtnetlink, nfnetlink and xfrm send them, and similar bytes. */
import { assert } from "@std/assert";
import fc from "fast-check";
import { SysError } from "../../../mod/sys/ffi/errno.ts";
import {
  readAddress,
  RTM_NEWADDR,
  writeAddress,
} from "../../../mod/sys/netlink/objects/address.ts";
import {
  acknowledgedErrno,
  acknowledgedReason,
} from "../../../mod/sys/netlink/wire/acknowledgement.ts";
import { Sequence } from "../../../mod/sys/netlink/batch.ts";
import { readDestination, readRule } from "../../../mod/sys/netlink/objects/destination.ts";
import { readKernelEvent } from "../../../mod/sys/netlink/event.ts";
import { Exchange } from "../../../mod/sys/netlink/wire/exchange.ts";
import { readElements, readHeader } from "../../../mod/sys/netlink/netfilter/ip_set.ts";
import { readPolicy } from "../../../mod/sys/netlink/objects/ipsec_policy.ts";
import { readLink, writeNewLink } from "../../../mod/sys/netlink/objects/link.ts";
import { VXLAN } from "../../../mod/sys/netlink/objects/vxlan.ts";
import { readStatistics } from "../../../mod/sys/netlink/objects/link_statistics.ts";
import {
  HEADER_LENGTH,
  MessageCursor,
  NetlinkFormatError,
} from "../../../mod/sys/netlink/wire/message.ts";
import { MessageWriter } from "../../../mod/sys/netlink/wire/message_writer.ts";
import {
  readFdbEntry,
  readNeighbour,
  RTM_NEWNEIGH,
  writeFdbEntry,
  writeNeighbour,
} from "../../../mod/sys/netlink/objects/neighbour.ts";
import { readRuleHandle, readTable } from "../../../mod/sys/netlink/netfilter/nft_message.ts";
import { intervals, readKeys } from "../../../mod/sys/netlink/netfilter/nft_set.ts";
import { readNftTrace } from "../../../mod/sys/netlink/netfilter/nft_trace.ts";
import { readLoggedPacket } from "../../../mod/sys/netlink/netfilter/packet_log.ts";
import {
  readRoute,
  readRouteLookup,
  RTM_NEWROUTE,
  writeRoute,
} from "../../../mod/sys/netlink/objects/route.ts";
import { readFilter } from "../../../mod/sys/netlink/objects/traffic_control.ts";
import type { Transport } from "../../../mod/sys/netlink/wire/transport.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { bytesNear, concat } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";

const ip = (text: string) => parseIPv4(text)!;

/** Returns the bytes that a function writes. */
function written(write: (writer: MessageWriter) => void): Uint8Array {
  const writer = new MessageWriter();
  write(writer);
  return writer.bytes.slice();
}

/** A message with a body of bytes. */
function message(type: number, body: readonly number[], flags = 0): Uint8Array {
  return written((writer) => {
    writer.begin(type, flags, 1);
    for (const byte of body) writer.u8(byte);
    writer.end();
  });
}

/** `00 01` and such as bytes. */
function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Attributes with a length in front, as in a multipath route. */
const MULTIPATH = written((writer) => {
  writer.begin(RTM_NEWROUTE, 0, 1);
  for (const byte of [2, 24, 0, 0, 254, 102, 0, 1, 0, 0, 0, 0]) writer.u8(byte);
  writer.attributeIPv4(1, ip("10.20.5.0"));
  writer.attributeBytes(9, Uint8Array.of(16, 0, 4, 0, 3, 0, 0, 0, 8, 0, 5, 0, 192, 0, 2, 1));
  writer.end();
});

const IP_SET = written((writer) => {
  writer.begin(0x0607, 2, 1);
  writer.u8(2);
  writer.zeros(3);
  writer.attributeU8(1, 6);
  writer.attributeString(2, "flannel-peers");
  writer.attributeString(3, "hash:net");
  writer.attributeU8(5, 2);
  const data = writer.beginNested(0x8007);
  writer.attributeIPv4(19, 65536);
  writer.attributeIPv4(24, 2);
  writer.endNested(data);
  const list = writer.beginNested(0x8008);
  for (const address of ["192.0.2.1", "10.20.0.0"]) {
    const element = writer.beginNested(0x8007);
    const inner = writer.beginNested(0x8001);
    writer.attributeIPv4(0x4001, ip(address));
    writer.endNested(inner);
    writer.attributeU8(3, 24);
    writer.endNested(element);
  }
  writer.endNested(list);
  writer.end();
});

const NFT_ELEMENTS = written((writer) => {
  writer.begin(0x0a0c, 2, 1);
  writer.u8(2);
  writer.zeros(3);
  const list = writer.beginNested(3);
  for (const [address, flags] of [["10.20.0.0", 0], ["10.20.1.0", 1]] as const) {
    const element = writer.beginNested(1);
    const key = writer.beginNested(1);
    writer.attributeIPv4(1, ip(address));
    writer.endNested(key);
    writer.attributeU32BE(3, flags);
    writer.endNested(element);
  }
  writer.endNested(list);
  writer.end();
});

const NFT_TRACE = written((writer) => {
  writer.begin(0x0a11, 0, 0);
  writer.u8(2);
  writer.zeros(3);
  writer.attributeString(1, "filter");
  writer.attributeString(2, "FORWARD");
  writer.attributeBytes(3, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 9));
  writer.attributeU32BE(4, 3);
  const verdict = writer.beginNested(5);
  writer.attributeU32BE(1, 0xfffffffd);
  writer.attributeString(2, "DOCKER");
  writer.endNested(verdict);
  writer.attributeU32BE(6, 77);
  writer.attributeBytes(8, new Uint8Array(20));
  writer.attributeBytes(9, new Uint8Array(20));
  writer.attributeU32BE(16, 1);
  writer.end();
});

const POLICY = written((writer) => {
  writer.begin(0x13, 2, 1);
  const info = new Uint8Array(168);
  info.set([172, 28, 128, 101], 0);
  info.set([2, 0, 32, 24, 17], 40);
  info[160] = 1;
  for (const byte of info) writer.u8(byte);
  writer.attributeBytes(5, new Uint8Array(64));
  writer.attributeU32(21, 0);
  writer.end();
});

const FILTER = written((writer) => {
  writer.begin(44, 2, 1);
  for (const byte of [0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 242, 255, 255, 255, 0, 3, 93, 32]) {
    writer.u8(byte);
  }
  writer.attributeString(1, "bpf");
  const options = writer.beginNested(2);
  writer.attributeString(7, "flanneld");
  writer.attributeU32(11, 12);
  writer.endNested(options);
  writer.end();
});

const LOGGED = written((writer) => {
  writer.begin(0x0400, 0, 0);
  writer.zeros(4);
  writer.attributeString(10, "TRACE: filter:FORWARD:rule:3 ");
  writer.attributeBytes(9, new Uint8Array(28));
  writer.end();
});

const STATISTICS = written((writer) => {
  writer.begin(16, 0, 1);
  writer.zeros(16);
  writer.attributeBytes(23, new Uint8Array(200));
  writer.end();
});

/** An error with the request that it answers, and the reason in words. */
const REFUSAL = written((writer) => {
  writer.begin(2, 0x200, 1);
  writer.u32(0xffffffef);
  writer.u32(20);
  writer.zeros(16);
  writer.attributeString(1, "File exists");
  writer.end();
});

const SEEDS: readonly Uint8Array[] = [
  written((writer) =>
    writeNewLink(writer, 0, 1, {
      ...{ name: "flannel.1", mtu: 1450, mac: "a2:3f:60:cf:ae:07" },
      kind: VXLAN,
      attributes: {
        ...{ vni: 1, link: 2, local: ip("192.0.2.1"), port: 8472, learning: false, gbp: true },
      },
    })
  ),
  written((writer) =>
    writeAddress(writer, RTM_NEWADDR, 0, 1, {
      ...{ index: 2, address: ip("192.0.2.1"), prefixLength: 24, scope: 0, flags: 0x380 },
    })
  ),
  written((writer) =>
    writeRoute(writer, RTM_NEWROUTE, 0, 1, {
      ...{ destination: Prefix.parse("10.20.5.0/24")!, gateway: ip("192.0.2.2"), oif: 2 },
      ...{ onlink: true, protocol: 102, scope: 0, table: 300, source: ip("10.20.1.1"), metric: 5 },
    })
  ),
  written((writer) =>
    writeNeighbour(writer, RTM_NEWNEIGH, 0, 1, {
      ...{ index: 4, address: ip("10.20.5.0"), mac: "a2:3f:60:cf:ae:07", state: 0x80 },
    })
  ),
  written((writer) =>
    writeFdbEntry(writer, RTM_NEWNEIGH, 0, 1, {
      ...{ index: 4, destination: ip("192.0.2.2"), mac: "a2:3f:60:cf:ae:07", state: 0x80 },
    })
  ),
  // Message of RTNLGRP_NEIGH after `bridge fdb append`.
  hex(
    "440000001c00000000000000000000000700000004000000c00002010a0002000a0000000002000008000100ac1c" +
      "800a1400030000000000000000000000000000000000",
  ),
  ...[MULTIPATH, IP_SET, NFT_ELEMENTS, NFT_TRACE, POLICY, FILTER, LOGGED, STATISTICS, REFUSAL],
  // Bodies that end before their fixed part, as a kernel that is older than the reader could send them.
  ...[16, 17, 20, 24, 28, 32, 44].map((type) => message(type, [])),
  message(24, [2, 200, 0, 0, 254, 102, 0, 1, 0, 0, 0, 0]),
  message(32, [2, 200, 0, 0, 254, 102, 0, 1, 0, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 0]),
  message(2, [], 0x200),
  message(2, [255, 255, 255, 255, 254, 255, 255, 255], 0x200),
];

/** A body of attributes, right or wrong in length, nested or not. */
const attributes = fc.letrec<{ list: Uint8Array; one: Uint8Array }>((tie) => ({
  one: fc.tuple(
    fc.integer({ min: 0, max: 35 }),
    fc.oneof({ maxDepth: 3 }, fc.uint8Array({ maxLength: 24 }), tie("list")),
    fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, {
      weight: 1,
      arbitrary: fc.integer({ min: -6, max: 300 }),
    }),
  ).map(([type, payload, wrong]) => {
    const length = payload.length + 4;
    const bytes = new Uint8Array((length + 3) & ~3);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, Math.max(0, length + wrong), true);
    view.setUint16(2, type, true);
    bytes.set(payload, 4);
    return bytes;
  }),
  list: fc.array(tie("one"), { maxLength: 5 }).map((parts) => concat(...parts)),
})).list;

const types = fc.constantFrom(
  ...[2, 3, 16, 17, 20, 21, 24, 25, 28, 29, 32, 44, 0x13, 0x0400, 0x0607, 0x0a0c, 0x0a11],
);
const structured = fc.tuple(
  types,
  fc.constantFrom(0, 2, 0x100, 0x200, 0x300),
  fc.tuple(fc.constantFrom(0, 2, 7, 10), fc.uint8Array({ maxLength: 20 })),
  attributes,
).map(([type, flags, [family, fixed], list]) =>
  message(type, [...fixed.length === 0 ? [] : [family, ...fixed.subarray(1)], ...list], flags)
);

/** Reads a message by each reader that could be asked for it. */
const READERS: readonly ((message: MessageCursor) => unknown)[] = [
  readKernelEvent,
  (message) => VXLAN.of({ ...readLink(message), kind: VXLAN.name }),
  (message) => readAddress(message),
  (message) => readRoute(message, { withRefusing: true }),
  readRouteLookup,
  (message) => readNeighbour(message),
  (message) => readFdbEntry(message),
  readDestination,
  readRule,
  readHeader,
  readElements,
  (message) => intervals(readKeys(message)),
  readNftTrace,
  readTable,
  (message) => readRuleHandle(message, "filter", "FORWARD"),
  readPolicy,
  (message) => readFilter(message, "ingress"),
  readLoggedPacket,
  readStatistics,
  acknowledgedErrno,
  acknowledgedReason,
];

/** The bytes at the very end of their buffer: a read behind them fails. */
function atEnd(bytes: Uint8Array): DataView {
  const buffer = new ArrayBuffer(bytes.length);
  new Uint8Array(buffer).set(bytes);
  return new DataView(buffer);
}

export const netlinkMessage: FuzzTarget<Uint8Array> = {
  name: "netlink_message",
  seeds: SEEDS,
  inputs: fc.oneof(bytesNear(SEEDS), structured),
  start: () => (bytes) => {
    const cursor = new MessageCursor();
    const view = atEnd(bytes);
    cursor.enter(view, 0, bytes.length);
    for (let previous = 0; refusing([NetlinkFormatError], () => cursor.next());) {
      assert(cursor.bodyStart >= previous + HEADER_LENGTH && cursor.bodyEnd <= bytes.length);
      previous = cursor.bodyEnd;
      // Each message by itself, so that a read behind it fails even where another one follows.
      const one = new MessageCursor();
      const body = bytes.subarray(cursor.bodyStart - HEADER_LENGTH, cursor.bodyEnd);
      for (const read of READERS) {
        one.enter(atEnd(body), 0, body.length);
        refusing([NetlinkFormatError], () => one.next() && read(one));
      }
    }
  },
};

/** Answers each request with the same datagrams; their sequence numbers are made to fit. */
class Answers implements Transport {
  readonly sendLimit = 1 << 15;
  readonly messageLimit = 100;
  readonly systemCalls = 0;
  readonly port = 7;
  readonly #datagrams: readonly Uint8Array[];
  #waiting: Uint8Array[] = [];

  constructor(datagrams: readonly Uint8Array[]) {
    this.#datagrams = datagrams;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    const sequence = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
    this.#waiting = this.#datagrams.map((datagram) => {
      const copy = datagram.slice();
      if (copy.length >= 12) new DataView(copy.buffer).setUint32(8, sequence, true);
      return copy;
    });
  }

  receive(_expected: string, visit: (view: DataView, start: number, end: number) => void): number {
    const datagram = this.#waiting.shift();
    if (datagram === undefined) return 0;
    visit(atEnd(datagram), 0, datagram.length);
    return 1;
  }

  wait(): void {}

  [Symbol.dispose](): void {}
}

const DONE = message(3, [0, 0, 0, 0], 2);

/** Dumps and requests, whatever the answers: an error of the documented kinds, or a result. */
export const netlinkExchange: FuzzTarget<Uint8Array[]> = {
  name: "netlink_exchange",
  seeds: [[...SEEDS.slice(0, 5), DONE], [REFUSAL], [DONE]],
  inputs: fc.array(
    fc.oneof(fc.constant(DONE), fc.constant(REFUSAL), bytesNear(SEEDS), structured),
    { maxLength: 4 },
  ),
  start: () => (datagrams) => {
    const classes = [NetlinkFormatError, SysError];
    for (const read of READERS.slice(1)) {
      const exchange = new Exchange(new Answers(datagrams), new Sequence(), new MessageWriter());
      const write = (writer: MessageWriter, flags: number, sequence: number) => {
        writer.begin(RTM_NEWROUTE, flags, sequence);
        writer.end();
      };
      refusing(classes, () => exchange.dump({ name: "DUMP" }, write, 24, read));
      refusing(classes, () => exchange.get({ name: "GET" }, write, 16, read));
    }
  },
};
