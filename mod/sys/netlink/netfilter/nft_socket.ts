import { SysError } from "../../ffi/errno.ts";
import { acknowledgedErrno, acknowledgedReason } from "../wire/acknowledgement.ts";
import { Sequence } from "../batch.ts";
import type { Write } from "../wire/exchange.ts";
import { MessageCursor, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR } from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import {
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWTABLE,
  type NftFamily,
  type NftTableName,
  readRuleHandle,
  readTable,
  writeBatchBegin,
  writeBatchEnd,
  writeRuleHandleQuery,
  writeTableQuery,
} from "./nft_message.ts";
import { NetfilterSocket } from "./netfilter.ts";
import { type NftTraceEvent, readNftTrace } from "./nft_trace.ts";
import type { NetlinkSocketOptions } from "../wire/socket.ts";

/** NFNLGRP_NFTRACE of linux/netfilter/nfnetlink.h, 9, as a bit. */
const TRACE_GROUP = 1 << (9 - 1);

/** First number of transactions' messages, far from those of single requests. */
const TRANSACTIONS = 0x10000000;

/** nf_tables over nfnetlink: transactions, and the handles of a chain's rules. */
export class NftSocket implements Disposable {
  readonly #socket: NetfilterSocket;
  readonly #sequence = new Sequence(TRANSACTIONS);
  readonly #writer = new MessageWriter();

  /** @throws {SysError} EPROTONOSUPPORT when the kernel has no netfilter */
  constructor(options: NetlinkSocketOptions = {}) {
    this.#socket = new NetfilterSocket(options);
  }

  /**
   * Carries out a transaction: all of its messages or none.
   *
   * @throws {SysError} the first refusal: EPERM without CAP_NET_ADMIN, EOPNOTSUPP without nf_tables,
   * EINVAL for a feature that this kernel does not know
   */
  apply(name: string, writes: readonly Write[]): void {
    const writer = this.#writer;
    writer.reset();
    const first = this.#sequence.take(writes.length + 2);
    writeBatchBegin(writer, NLM_F_REQUEST, first);
    writes.forEach((write, i) => write(writer, NLM_F_REQUEST | NLM_F_ACK, first + 1 + i));
    writeBatchEnd(writer, NLM_F_REQUEST, first + 1 + writes.length);
    this.#socket.transport.send(writer.bytes);
    const cursor = new MessageCursor();
    let left = writes.length;
    let failure: SysError | undefined;
    const visit = (view: DataView, start: number, end: number) => {
      cursor.enter(view, start, end);
      while (cursor.next()) {
        if (cursor.type !== NLMSG_ERROR) continue;
        left--;
        const number = acknowledgedErrno(cursor);
        if (number === 0) continue;
        failure ??= new SysError(name, number, { detail: acknowledgedReason(cursor) });
        // A transaction that is refused as a whole has one answer, to its first message.
        if (cursor.sequence === first) left = 0;
      }
    };
    while (left > 0) {
      if (this.#socket.transport.receive("dump", visit) === 0) {
        // The kernel has answered before send(2) returned: nothing more comes after a failure.
        if (failure !== undefined) break;
        this.#socket.transport.wait();
      }
    }
    if (failure !== undefined) throw failure;
  }

  /**
   * Names and flags of a family's tables.
   *
   * @throws {SysError} EPERM without CAP_NET_ADMIN; EOPNOTSUPP or EINVAL without nf_tables
   */
  tables(family: NftFamily): { name: string; flags: number }[] {
    return this.#socket.exchange.dump(
      { name: "NFT_MSG_GETTABLE", subject: family },
      (writer, flags, sequence) => writeTableQuery(writer, flags, sequence, family),
      NFT_MSG_NEWTABLE,
      readTable,
    );
  }

  /**
   * Handles of a chain's rules in their order; none when there is no such chain.
   *
   * @throws {SysError}
   */
  ruleHandles(table: NftTableName, chain: string): bigint[] {
    return this.#socket.exchange.dump(
      { name: "NFT_MSG_GETRULE", subject: `${table.family} ${table.table} ${chain}` },
      (writer, flags, sequence) => writeRuleHandleQuery(writer, flags, sequence, table, chain),
      NFT_MSG_NEWRULE,
      (message) => readRuleHandle(message, table.table, chain),
    );
  }

  /** Closes the socket; tables that it owns go with it. */
  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Receives nf_tables' trace events from its creation on. */
export class NftTraceSocket implements Disposable {
  readonly #socket: NetfilterSocket;

  /** @throws {SysError} EPERM without CAP_NET_ADMIN; EPROTONOSUPPORT when the kernel has no netfilter */
  constructor(options: NetlinkSocketOptions = {}) {
    this.#socket = new NetfilterSocket(options, TRACE_GROUP);
  }

  /** Returns the queued events without waiting, with those of other programs' traced packets. */
  receive(): NftTraceEvent[] {
    return this.#socket.receive(readNftTrace);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
