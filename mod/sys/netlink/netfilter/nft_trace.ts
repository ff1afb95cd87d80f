import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import { NFPROTO, NFT_MSG_TRACE, type NftFamily } from "./nft_message.ts";

/** Kind of a trace event: a rule that matched, a base chain's policy, or the end of another chain. */
export type TraceType = "rule" | "policy" | "return";

/** A verdict in nft(8)'s words; `stolen` and `queue` are those of netfilter (linux/netfilter.h). */
export type TraceVerdict =
  | "accept"
  | "drop"
  | "stolen"
  | "queue"
  | "continue"
  | "break"
  | "jump"
  | "goto"
  | "return";

/** One step of a traced packet through nf_tables (NFT_MSG_TRACE). */
export interface NftTraceEvent {
  /** Same for one packet in one run through a hook; it may change from hook to hook. */
  readonly id: number;
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  readonly type: TraceType;
  /** Of the rule; absent at a policy. */
  readonly handle?: bigint;
  readonly verdict?: TraceVerdict;
  /** Chain that `jump` and `goto` lead to. */
  readonly target?: string;
  /** Interfaces' indices. */
  readonly iif?: number;
  readonly oif?: number;
  readonly mark?: number;
  /** Network header; only in the first event of a base chain. */
  readonly network?: Uint8Array;
  /** Transport header, as much of it as the kernel sends (20 bytes); likewise. */
  readonly transport?: Uint8Array;
}

/** enum nft_trace_types. */
const TYPES: readonly (TraceType | undefined)[] = [undefined, "policy", "return", "rule"];

/** NF_* of linux/netfilter.h. */
const NETFILTER_VERDICTS: readonly TraceVerdict[] = ["drop", "accept", "stolen", "queue"];
/** enum nft_verdicts: from -1 down. */
const NFT_VERDICTS: readonly TraceVerdict[] = ["continue", "break", "jump", "goto", "return"];
/** NF_VERDICT_MASK: above it NF_QUEUE has the queue's number and NF_DROP an error or a drop reason. */
const VERDICT_MASK = 0xff;

const FAMILIES = new Map(Object.entries(NFPROTO).map(([name, number]) => [number, name]));

/** NFTA_TRACE_*. */
const Attribute = {
  table: 1,
  chain: 2,
  handle: 3,
  type: 4,
  verdict: 5,
  id: 6,
  network: 8,
  transport: 9,
  iif: 10,
  oif: 12,
  mark: 14,
  policy: 16,
} as const;

/**
 * Reads a trace message.
 *
 * @returns `undefined` for other messages, and for types and families that this program does not know
 * @throws {NetlinkFormatError} for a truncated message
 */
export function readNftTrace(message: MessageCursor): NftTraceEvent | undefined {
  if (message.type !== NFT_MSG_TRACE || message.bodyEnd - message.bodyStart < 4) return undefined;
  const { view, bodyStart, bodyEnd } = message;
  const family = FAMILIES.get(view.getUint8(bodyStart) as never) as NftFamily | undefined;
  const attributes = new AttributeCursor().enter(view, bodyStart + 4, bodyEnd);
  const event: { -readonly [Name in keyof NftTraceEvent]?: NftTraceEvent[Name] } = {};
  while (attributes.next()) {
    switch (attributes.type) {
      case Attribute.table:
        event.table = attributes.string();
        break;
      case Attribute.chain:
        event.chain = attributes.string();
        break;
      case Attribute.handle:
        event.handle = attributes.u64be();
        break;
      case Attribute.type: {
        const type = TYPES[attributes.u32be()];
        if (type !== undefined) event.type = type;
        break;
      }
      case Attribute.verdict:
        Object.assign(event, readVerdict(attributes.nested()));
        break;
      case Attribute.policy: {
        const verdict = NETFILTER_VERDICTS[attributes.u32be() & VERDICT_MASK];
        if (verdict !== undefined) event.verdict = verdict;
        break;
      }
      case Attribute.id:
        event.id = attributes.u32be();
        break;
      case Attribute.network:
        event.network = attributes.bytes();
        break;
      case Attribute.transport:
        event.transport = attributes.bytes();
        break;
      case Attribute.iif:
        event.iif = attributes.u32be();
        break;
      case Attribute.oif:
        event.oif = attributes.u32be();
        break;
      case Attribute.mark:
        event.mark = attributes.u32be();
        break;
    }
  }
  const { id, table, chain, type } = event;
  if (
    family === undefined || id === undefined || table === undefined || chain === undefined ||
    type === undefined
  ) return undefined;
  return { ...event, id, family, table, chain, type };
}

/** NFTA_VERDICT_CODE is 1, NFTA_VERDICT_CHAIN 2. */
function readVerdict(
  attributes: AttributeCursor,
): Pick<NftTraceEvent, "verdict" | "target"> {
  const found: { verdict?: TraceVerdict; target?: string } = {};
  while (attributes.next()) {
    if (attributes.type === 1) {
      const code = attributes.u32be() | 0;
      const verdict = code < 0 ? NFT_VERDICTS[-1 - code] : NETFILTER_VERDICTS[code & VERDICT_MASK];
      if (verdict !== undefined) found.verdict = verdict;
    } else if (attributes.type === 2) found.target = attributes.string();
  }
  return found;
}
