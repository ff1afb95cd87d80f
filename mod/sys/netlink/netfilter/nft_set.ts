import { type IPv4, Prefix } from "../../../ip/mod.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import {
  AttributeCursor,
  type MessageCursor,
  NLM_F_CREATE,
  NLM_F_REQUEST,
} from "../wire/message.ts";
import type { MessageWriter } from "../wire/message_writer.ts";
import {
  beginNetfilter,
  NetfilterSocket,
  NFGENMSG_LENGTH,
  NFNL_SUBSYS_NFTABLES,
  NLA_F_NESTED,
} from "./netfilter.ts";
import { DATA_VALUE, writeBatchBegin, writeBatchEnd } from "./nft_message.ts";
import type { NetlinkSocketOptions } from "../wire/socket.ts";

/** NFT_MSG_* and NFTA_* of linux/netfilter/nf_tables.h. */
const GETTABLE = 1;
const NEWSETELEM = 12;
const GETSETELEM = 13;
const DELSETELEM = 14;
const TABLE_NAME = 1;
const ELEM_LIST_TABLE = 1;
const ELEM_LIST_SET = 2;
const ELEM_LIST_ELEMENTS = 3;
const LIST_ELEM = 1;
const ELEM_KEY = 1;
const ELEM_FLAGS = 3;
/** NFT_SET_ELEM_INTERVAL_END: the first key that is not in the interval any more. */
const INTERVAL_END = 1;

/** Answers without the table, or without nf_tables. */
const ABSENT: readonly number[] = [Errno.ENOENT, Errno.EINVAL, Errno.EOPNOTSUPP];

/** Elements of one message: two keys of up to 28 bytes each, below the longest send of 32 KiB. */
const ELEMENTS_PER_MESSAGE = 500;

/** A set of IPv4 addresses in a table of family `ip`. */
export interface NftSetName {
  readonly table: string;
  readonly set: string;
  /** The set has `flags interval`, and holds prefixes; otherwise single addresses. */
  readonly isInterval: boolean;
}

/**
 * Elements of nftables' sets, over netlink: nft(8) reads all elements of an interval set to change one.
 *
 * All calls are synchronous and throw {@linkcode SysError}: EPERM without CAP_NET_ADMIN, ENOENT without the set.
 */
export class NftSets implements Disposable {
  readonly #socket: NetfilterSocket;

  /** @throws {SysError} when the namespace or the socket cannot be opened */
  constructor(options: NetlinkSocketOptions = {}) {
    this.#socket = new NetfilterSocket(options);
  }

  /** True when there is a table of family `ip` with this name; false on a kernel without nf_tables. */
  hasTable(name: string): boolean {
    try {
      this.#socket.exchange.request(
        { name: "NFT_MSG_GETTABLE", subject: name },
        0,
        (writer, flags, sequence) => {
          beginNetfilter(writer, NFNL_SUBSYS_NFTABLES, GETTABLE, { flags, sequence });
          writer.attributeString(TABLE_NAME, name);
          writer.end();
        },
      );
      return true;
    } catch (error) {
      if (error instanceof SysError && ABSENT.includes(error.errno)) return false;
      throw error;
    }
  }

  /** Reads all elements; none for a set that does not exist. */
  elements(name: NftSetName): Prefix[] {
    const keys = this.#socket.exchange.dump(
      { name: "NFT_MSG_GETSETELEM", subject: name.set },
      (writer, flags, sequence) => {
        begin(writer, GETSETELEM, { flags, sequence }, name);
        writer.end();
      },
      NFNL_SUBSYS_NFTABLES << 8 | NEWSETELEM,
      readKeys,
    ).flat();
    return name.isInterval ? intervals(keys) : keys.map(({ key }) => new Prefix(key, 32));
  }

  /**
   * Adds elements. Cost: O(elements), one message for five hundred, each of which is done as a whole.
   *
   * @throws {SysError} EEXIST or ENOTEMPTY when a prefix overlaps another one
   */
  add(name: NftSetName, elements: readonly Prefix[]): void {
    this.#change(NEWSETELEM, NLM_F_CREATE, name, elements);
  }

  /** Removes elements. @throws {SysError} ENOENT when one is not there, too: the message then does nothing */
  delete(name: NftSetName, elements: readonly Prefix[]): void {
    this.#change(DELSETELEM, 0, name, elements);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #change(
    command: number,
    commandFlags: number,
    name: NftSetName,
    elements: readonly Prefix[],
  ): void {
    const request = command === NEWSETELEM ? "NFT_MSG_NEWSETELEM" : "NFT_MSG_DELSETELEM";
    for (let from = 0; from < elements.length; from += ELEMENTS_PER_MESSAGE) {
      const part = elements.slice(from, from + ELEMENTS_PER_MESSAGE);
      this.#socket.exchange.request(
        { name: request, subject: `${name.table} ${name.set}` },
        commandFlags,
        (writer, flags, sequence) => {
          writeBatchBegin(writer, NLM_F_REQUEST, sequence);
          begin(writer, command, { flags, sequence }, name);
          const list = writer.beginNested(ELEM_LIST_ELEMENTS | NLA_F_NESTED);
          for (const prefix of part) {
            writeKey(writer, prefix.address, 0);
            // The last address of all has none after it.
            if (name.isInterval && prefix.last < 0xffffffff) {
              writeKey(writer, prefix.last + 1, INTERVAL_END);
            }
          }
          writer.endNested(list);
          writer.end();
          writeBatchEnd(writer, NLM_F_REQUEST, sequence);
        },
      );
    }
  }
}

/** One end of an interval, or a single address. */
export interface Key {
  readonly key: IPv4;
  readonly isEnd: boolean;
}

function begin(
  writer: MessageWriter,
  command: number,
  header: { readonly flags: number; readonly sequence: number },
  { table, set }: NftSetName,
): void {
  beginNetfilter(writer, NFNL_SUBSYS_NFTABLES, command, header);
  writer.attributeString(ELEM_LIST_TABLE, table);
  writer.attributeString(ELEM_LIST_SET, set);
}

function writeKey(writer: MessageWriter, key: IPv4, flags: number): void {
  const element = writer.beginNested(LIST_ELEM | NLA_F_NESTED);
  const data = writer.beginNested(ELEM_KEY | NLA_F_NESTED);
  writer.attributeIPv4(DATA_VALUE, key);
  writer.endNested(data);
  // In network order, without the flag for it, as nft(8) writes it.
  if (flags !== 0) writer.attributeIPv4(ELEM_FLAGS, flags);
  writer.endNested(element);
}

/** Reads the ends of intervals, or the addresses, of a set. Exported for its test. */
export function readKeys(message: MessageCursor): Key[] {
  const keys: Key[] = [];
  const attributes = new AttributeCursor()
    .enter(message.view, message.bodyStart + NFGENMSG_LENGTH, message.bodyEnd);
  while (attributes.next()) {
    if (attributes.type !== ELEM_LIST_ELEMENTS) continue;
    const list = attributes.nested();
    while (list.next()) keys.push(readKey(list.nested()));
  }
  return keys;
}

function readKey(element: AttributeCursor): Key {
  let key = 0;
  let flags = 0;
  while (element.next()) {
    if (element.type === ELEM_FLAGS) flags = element.ipv4();
    else if (element.type === ELEM_KEY) {
      const data = element.nested();
      while (data.next()) if (data.type === DATA_VALUE) key = data.ipv4();
    }
  }
  return { key, isEnd: (flags & INTERVAL_END) !== 0 };
}

/**
 * Puts starts and ends together; an interval that is no prefix becomes the smallest one around it. Exported for its test.
 */
export function intervals(keys: readonly Key[]): Prefix[] {
  // Where one interval ends and another starts, the end comes first.
  const sorted = keys.toSorted((a, b) => a.key - b.key || Number(b.isEnd) - Number(a.isEnd));
  const prefixes: Prefix[] = [];
  for (const [i, { key, isEnd }] of sorted.entries()) {
    if (isEnd) continue;
    const end = sorted[i + 1]?.key ?? 2 ** 32;
    prefixes.push(new Prefix(key, 32 - Math.ceil(Math.log2(Math.max(1, end - key)))));
  }
  return prefixes;
}
