/**
 * Messages of nf_tables over nfnetlink (linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h), as much
 * of them as it takes to make a table that traces packets and to find a rule by its handle. Numbers in
 * attributes are in network order.
 *
 * @module
 */
import { AttributeCursor, type MessageCursor, NLM_F_CREATE } from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import { beginNetfilter, NFGENMSG_LENGTH, NFNL_SUBSYS_NFTABLES } from "./netfilter.ts";

/** NFT_MSG_*, with the subsystem in the high byte. */
export const NFT_MSG_NEWTABLE = NFNL_SUBSYS_NFTABLES << 8;
export const NFT_MSG_GETTABLE = NFNL_SUBSYS_NFTABLES << 8 | 1;
export const NFT_MSG_DELTABLE = NFNL_SUBSYS_NFTABLES << 8 | 2;
const NFT_MSG_NEWCHAIN = NFNL_SUBSYS_NFTABLES << 8 | 3;
export const NFT_MSG_NEWRULE = NFNL_SUBSYS_NFTABLES << 8 | 6;
export const NFT_MSG_GETRULE = NFNL_SUBSYS_NFTABLES << 8 | 7;
export const NFT_MSG_TRACE = NFNL_SUBSYS_NFTABLES << 8 | 17;

/** Around the messages of a transaction (NFNL_MSG_BATCH_*). */
const BATCH_BEGIN = 16;
const BATCH_END = 17;

/** NFPROTO_* by nft(8)'s word for the family. */
export const NFPROTO = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const;

/** Family of an nftables table. */
export type NftFamily = keyof typeof NFPROTO;

/** NFTA_TABLE_*. */
const TABLE_NAME = 1;
const TABLE_FLAGS = 2;
/** NFT_TABLE_F_OWNER, Linux 5.12: the table goes when the socket that made it is closed. */
export const NFT_TABLE_F_OWNER = 2;
/** NFTA_CHAIN_*. */
const CHAIN_TABLE = 1;
const CHAIN_NAME = 3;
const CHAIN_HOOK = 4;
const CHAIN_TYPE = 7;
/** NFTA_HOOK_*. */
const HOOK_NUMBER = 1;
const HOOK_PRIORITY = 2;
const HOOK_DEVICE = 3;
/** NFTA_RULE_*. */
const RULE_TABLE = 1;
const RULE_CHAIN = 2;
const RULE_HANDLE = 3;
const RULE_EXPRESSIONS = 4;
/** NFTA_LIST_ELEM, and NFTA_EXPR_*. */
const LIST_ELEMENT = 1;
const EXPRESSION_NAME = 1;
const EXPRESSION_DATA = 2;
/** NFTA_DATA_VALUE. */
export const DATA_VALUE = 1;
/** NFT_REG_1. */
const REGISTER = 1;
/** NFT_META_NFTRACE. */
const META_NFTRACE = 12;

/** Netfilter hooks of the IP families and of bridge (enum nf_inet_hooks), in nft(8)'s words. */
export const NFT_HOOKS = ["prerouting", "input", "forward", "output", "postrouting"] as const;

/** A netfilter hook. */
export type NftHook = (typeof NFT_HOOKS)[number];

/** A base chain of type filter that accepts. */
export interface NftBaseChainSpec {
  readonly name: string;
  /** `ingress` of family netdev takes a device (enum nf_dev_hooks). */
  readonly hook: NftHook | "ingress";
  /** Lower ones come first. */
  readonly priority: number;
  /** Name of an interface. */
  readonly device?: string;
}

/** Where a payload is compared: from the network header, or from the transport header. */
export interface PayloadMatch {
  readonly base: "network" | "transport";
  /** Bytes. */
  readonly offset: number;
  readonly value: Uint8Array;
}

/** `enum nft_payload_bases`. */
const PAYLOAD_BASES = { network: 1, transport: 2 } as const;

/** A table. */
export interface NftTableName {
  readonly family: NftFamily;
  readonly table: string;
}

/** Starts a transaction, which {@linkcode writeBatchEnd} ends. */
export function writeBatchBegin(writer: MessageWriter, flags: number, sequence: number): void {
  writeBatchMark(writer, BATCH_BEGIN, flags, sequence);
}

/** Ends a transaction: the kernel carries out all of it, or nothing. */
export function writeBatchEnd(writer: MessageWriter, flags: number, sequence: number): void {
  writeBatchMark(writer, BATCH_END, flags, sequence);
}

/** Makes a table. @param tableFlags NFT_TABLE_F_* */
export function writeTable(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { family, table }: NftTableName,
  tableFlags: number,
): void {
  begin(writer, NFT_MSG_NEWTABLE, flags | NLM_F_CREATE, sequence, family);
  writer.attributeString(TABLE_NAME, table);
  writer.attributeU32BE(TABLE_FLAGS, tableFlags);
  writer.end();
}

/** Removes a table with all that is in it. */
export function writeTableDeletion(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { family, table }: NftTableName,
): void {
  begin(writer, NFT_MSG_DELTABLE, flags, sequence, family);
  writer.attributeString(TABLE_NAME, table);
  writer.end();
}

/** Makes a base chain. */
export function writeBaseChain(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { family, table }: NftTableName,
  { name, hook, priority, device }: NftBaseChainSpec,
): void {
  begin(writer, NFT_MSG_NEWCHAIN, flags | NLM_F_CREATE, sequence, family);
  writer.attributeString(CHAIN_TABLE, table);
  writer.attributeString(CHAIN_NAME, name);
  const nested = writer.beginNested(CHAIN_HOOK);
  writer.attributeU32BE(HOOK_NUMBER, hook === "ingress" ? 0 : NFT_HOOKS.indexOf(hook));
  writer.attributeU32BE(HOOK_PRIORITY, priority);
  if (device !== undefined) writer.attributeString(HOOK_DEVICE, device);
  writer.endNested(nested);
  writer.attributeString(CHAIN_TYPE, "filter");
  writer.end();
}

/** Appends a rule that sets `meta nftrace` on packets that match all of `matches`. */
export function writeTraceRule(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { family, table }: NftTableName,
  chain: string,
  matches: readonly PayloadMatch[],
): void {
  // NLM_F_APPEND
  begin(writer, NFT_MSG_NEWRULE, flags | NLM_F_CREATE | 0x800, sequence, family);
  writer.attributeString(RULE_TABLE, table);
  writer.attributeString(RULE_CHAIN, chain);
  const expressions = writer.beginNested(RULE_EXPRESSIONS);
  for (const { base, offset, value } of matches) {
    expression(writer, "payload", () => {
      writer.attributeU32BE(1, REGISTER); // NFTA_PAYLOAD_DREG
      writer.attributeU32BE(2, PAYLOAD_BASES[base]);
      writer.attributeU32BE(3, offset);
      writer.attributeU32BE(4, value.length);
    });
    expression(writer, "cmp", () => {
      writer.attributeU32BE(1, REGISTER); // NFTA_CMP_SREG
      writer.attributeU32BE(2, 0); // NFTA_CMP_OP: NFT_CMP_EQ
      data(writer, 3, value);
    });
  }
  expression(writer, "immediate", () => {
    writer.attributeU32BE(1, REGISTER); // NFTA_IMMEDIATE_DREG
    data(writer, 2, new Uint8Array([1]));
  });
  expression(writer, "meta", () => {
    writer.attributeU32BE(2, META_NFTRACE); // NFTA_META_KEY
    writer.attributeU32BE(3, REGISTER); // NFTA_META_SREG
  });
  writer.endNested(expressions);
  writer.end();
}

/** Asks for the tables of a family. */
export function writeTableQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  family: NftFamily,
): void {
  begin(writer, NFT_MSG_GETTABLE, flags, sequence, family);
  writer.end();
}

/** Reads a table's name and flags. */
export function readTable({ view, bodyStart, bodyEnd }: MessageCursor): {
  name: string;
  flags: number;
} {
  const attributes = new AttributeCursor().enter(view, bodyStart + NFGENMSG_LENGTH, bodyEnd);
  const table = { name: "", flags: 0 };
  while (attributes.next()) {
    if (attributes.type === TABLE_NAME) table.name = attributes.string();
    else if (attributes.type === TABLE_FLAGS) table.flags = attributes.u32be();
  }
  return table;
}

/** Asks for the rules of a chain. */
export function writeRuleHandleQuery(
  writer: MessageWriter,
  flags: number,
  sequence: number,
  { family, table }: NftTableName,
  chain: string,
): void {
  begin(writer, NFT_MSG_GETRULE, flags, sequence, family);
  writer.attributeString(RULE_TABLE, table);
  writer.attributeString(RULE_CHAIN, chain);
  writer.end();
}

/** Reads the handle of a rule in a chain; `undefined` for one in another chain (kernels before 4.13 send all). */
export function readRuleHandle(
  { view, bodyStart, bodyEnd }: MessageCursor,
  table: string,
  chain: string,
): bigint | undefined {
  const attributes = new AttributeCursor().enter(view, bodyStart + NFGENMSG_LENGTH, bodyEnd);
  let handle: bigint | undefined;
  while (attributes.next()) {
    if (attributes.type === RULE_HANDLE) handle = attributes.u64be();
    else if (attributes.type === RULE_TABLE && attributes.string() !== table) return undefined;
    else if (attributes.type === RULE_CHAIN && attributes.string() !== chain) return undefined;
  }
  return handle;
}

function begin(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
  family: NftFamily,
): void {
  const command = type & 0xff;
  beginNetfilter(writer, NFNL_SUBSYS_NFTABLES, command, { flags, sequence }, NFPROTO[family]);
}

function writeBatchMark(
  writer: MessageWriter,
  type: number,
  flags: number,
  sequence: number,
): void {
  writer.begin(type, flags, sequence);
  writer.zeros(2);
  // In network order.
  writer.u8(0);
  writer.u8(NFNL_SUBSYS_NFTABLES);
  writer.end();
}

function expression(writer: MessageWriter, name: string, write: () => void): void {
  const element = writer.beginNested(LIST_ELEMENT);
  writer.attributeString(EXPRESSION_NAME, name);
  const data = writer.beginNested(EXPRESSION_DATA);
  write();
  writer.endNested(data);
  writer.endNested(element);
}

function data(writer: MessageWriter, type: number, value: Uint8Array): void {
  const nested = writer.beginNested(type);
  writer.attributeBytes(DATA_VALUE, value);
  writer.endNested(nested);
}
