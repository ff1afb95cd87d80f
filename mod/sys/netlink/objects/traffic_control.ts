/**
 * RTM_*QDISC and RTM_*TFILTER: struct tcmsg and TCA_* (linux/rtnetlink.h, linux/pkt_cls.h), for BPF
 * classifiers in direct-action mode below clsact.
 *
 * @module
 */
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;

/** struct tcmsg: u8 family, u8 pad, u16 pad, i32 index, u32 handle, u32 parent, u32 info. */
const TCMSG_LENGTH = 20;

/** linux/pkt_sched.h: where filters hang, and the queueing discipline that they hang on. */
const TC_H_CLSACT = 0xfffffff1;
const TC_H_CLSACT_HANDLE = 0xffff0000;
const PARENTS = { ingress: 0xfffffff2, egress: 0xfffffff3 };

/** ETH_P_ALL of linux/if_ether.h, in network order. */
const ALL_PROTOCOLS = 0x0300;
/** ETH_P_IPV6 of linux/if_ether.h, in network order. */
const IPV6_PROTOCOL = 0xdd86;
/** One filter for each of our priorities. */
const HANDLE = 1;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_OPS_LEN = 4;
const TCA_BPF_OPS = 5;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_ID = 11;
/** The program's result is the verdict. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;

/** Name of the filter that drops received IPv6 frames. */
export const IPV6_DROP = "flanneld-no-ipv6";
/** Behind the filters of the udp backend, which begin at 1. */
const IPV6_DROP_PRIORITY = 49_152;
/**
 * One struct sock_filter of linux/filter.h: u16 code BPF_RET | BPF_K (0x06), u8 jt, u8 jf, u32 k TC_ACT_SHOT (2,
 * linux/pkt_cls.h). A classic program needs neither bpf(2) nor CAP_BPF.
 */
const DROP_PROGRAM = Uint8Array.of(0x06, 0, 0, 0, 2, 0, 0, 0);

/** Where a filter is. */
export interface FilterPlace {
  /** Of the interface. */
  readonly index: number;
  readonly direction: "ingress" | "egress";
  /** 1 to 65535, lower ones come first; it identifies the filters of one program. */
  readonly priority: number;
}

/** A BPF classifier to be attached. */
export interface BpfFilter extends FilterPlace {
  /** For those who look. */
  readonly name: string;
  /** Descriptor of the program. */
  readonly fd: number;
}

/** A BPF classifier as the kernel reports it. */
export interface AttachedFilter extends FilterPlace {
  readonly name: string;
  /** 0 for a classic program. */
  readonly programId: number;
}

/** Creates the queueing discipline that filters are attached to, or removes it. */
export function writeClsact(
  writer: MessageWriter,
  type: typeof RTM_NEWQDISC | typeof RTM_DELQDISC,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(type, flags, sequence);
  writeHeader(writer, index, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0);
  writer.attributeString(TCA_KIND, "clsact");
  writer.end();
}

/** Attaches a filter, or with NLM_F_REPLACE exchanges its program. */
export function writeFilter(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  filter: BpfFilter,
): void {
  writer.begin(RTM_NEWTFILTER, flags, sequence);
  writePlace(writer, filter);
  writer.attributeString(TCA_KIND, "bpf");
  const options = writer.beginNested(TCA_OPTIONS);
  writer.attributeU32(TCA_BPF_FD, filter.fd);
  writer.attributeString(TCA_BPF_NAME, filter.name);
  writer.attributeU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  writer.endNested(options);
  writer.end();
}

/** Attaches the filter that drops received IPv6 frames, or replaces it. */
export function writeIPv6Drop(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
): void {
  writer.begin(RTM_NEWTFILTER, flags, sequence);
  writeHeader(writer, index, HANDLE, PARENTS.ingress, (IPV6_DROP_PRIORITY << 16) | IPV6_PROTOCOL);
  writer.attributeString(TCA_KIND, "bpf");
  const options = writer.beginNested(TCA_OPTIONS);
  writer.attributeBytes(TCA_BPF_OPS_LEN, Uint8Array.of(DROP_PROGRAM.length / 8, 0));
  writer.attributeBytes(TCA_BPF_OPS, DROP_PROGRAM);
  writer.attributeString(TCA_BPF_NAME, IPV6_DROP);
  writer.attributeU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  writer.endNested(options);
  writer.end();
}

/** Takes a filter off. */
export function writeFilterDeletion(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  place: FilterPlace,
): void {
  writer.begin(RTM_DELTFILTER, flags, sequence);
  writePlace(writer, place);
  writer.attributeString(TCA_KIND, "bpf");
  writer.end();
}

/** Asks for the filters of one side of an interface. */
export function writeFilterQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  index: number,
  direction: FilterPlace["direction"],
): void {
  writer.begin(RTM_GETTFILTER, flags, sequence);
  writeHeader(writer, index, 0, PARENTS[direction], 0);
  writer.end();
}

/** Reads a filter; `undefined` when it is no BPF classifier. */
export function readFilter(
  message: MessageCursor,
  direction: FilterPlace["direction"],
): AttachedFilter | undefined {
  const { view, bodyEnd } = message;
  const start = message.fixedPart(TCMSG_LENGTH);
  const attributes = new AttributeCursor().enter(view, start + TCMSG_LENGTH, bodyEnd);
  let kind = "";
  let name = "";
  let programId = 0;
  let isClassic = false;
  while (attributes.next()) {
    if (attributes.type === TCA_KIND) kind = attributes.string();
    else if (attributes.type === TCA_OPTIONS) {
      const options = attributes.nested();
      while (options.next()) {
        if (options.type === TCA_BPF_NAME) name = options.string();
        else if (options.type === TCA_BPF_OPS) isClassic = true;
        else if (options.type === TCA_BPF_ID) programId = options.u32();
      }
    }
  }
  // The dump has each priority once more, as the chain that its filters are in.
  if (kind !== "bpf") return undefined;
  const priority = view.getUint32(start + 16, true) >>> 16;
  if (programId === 0) {
    // The kernel reports no name of a classic program.
    if (!isClassic || priority !== IPV6_DROP_PRIORITY) return undefined;
    name = IPV6_DROP;
  }
  return { index: view.getInt32(start + 4, true), direction, priority, name, programId };
}

function writePlace(writer: MessageWriter, { index, direction, priority }: FilterPlace): void {
  writeHeader(writer, index, HANDLE, PARENTS[direction], (priority << 16) | ALL_PROTOCOLS);
}

function writeHeader(
  writer: MessageWriter,
  index: number,
  handle: number,
  parent: number,
  info: number,
): void {
  writer.u32(0);
  writer.u32(index);
  writer.u32(handle);
  writer.u32(parent);
  writer.u32(info >>> 0);
}
