import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { MessageCursor, NetlinkFormatError } from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import { NFPROTO, NFT_MSG_TRACE, type NftFamily } from "./nft_message.ts";
import { type NftTraceEvent, readNftTrace } from "./nft_trace.ts";

/** Verdicts with their numbers, of linux/netfilter.h and linux/netfilter/nf_tables.h. */
const VERDICTS = {
  ...{ drop: 0, accept: 1, stolen: 2, queue: 3 },
  ...{ continue: -1, break: -2, jump: -3, goto: -4, return: -5 },
} as const;
const TYPES = { policy: 1, return: 2, rule: 3 } as const;

/** Writes the message of the kernel's nft_trace_notify(). */
function encode(event: NftTraceEvent, upperBits = 0): Uint8Array {
  const writer = new MessageWriter();
  writer.begin(NFT_MSG_TRACE, 0, 0);
  writer.u8(NFPROTO[event.family]);
  writer.zeros(3);
  writer.attributeU32BE(15, NFPROTO[event.family]);
  writer.attributeU32BE(4, TYPES[event.type]);
  writer.attributeU32BE(6, event.id);
  writer.attributeString(2, event.chain);
  writer.attributeString(1, event.table);
  if (event.handle !== undefined) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, event.handle);
    writer.attributeBytes(3, bytes);
  }
  if (event.verdict !== undefined) {
    const code = VERDICTS[event.verdict];
    if (event.type === "policy") writer.attributeU32BE(16, code);
    else {
      const nested = writer.beginNested(5);
      writer.attributeU32BE(1, code < 0 ? code : code | upperBits << 8);
      if (event.target !== undefined) writer.attributeString(2, event.target);
      writer.endNested(nested);
    }
  }
  if (event.iif !== undefined) writer.attributeU32BE(10, event.iif);
  if (event.oif !== undefined) writer.attributeU32BE(12, event.oif);
  if (event.mark !== undefined) writer.attributeU32BE(14, event.mark);
  if (event.network !== undefined) writer.attributeBytes(8, event.network);
  if (event.transport !== undefined) writer.attributeBytes(9, event.transport);
  writer.end();
  return writer.bytes.slice();
}

function read(bytes: Uint8Array): NftTraceEvent | undefined {
  const cursor = new MessageCursor();
  cursor.enter(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  return cursor.next() ? readNftTrace(cursor) : undefined;
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const name = fc.stringMatching(/^[\w-]{1,20}$/);

const events: fc.Arbitrary<NftTraceEvent> = fc.record({
  id: u32,
  family: fc.constantFrom(...Object.keys(NFPROTO) as NftFamily[]),
  table: name,
  chain: name,
  type: fc.constantFrom("rule" as const, "return" as const),
  handle: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  verdict: fc.constantFrom(...Object.keys(VERDICTS) as (keyof typeof VERDICTS)[]),
  target: name,
  iif: u32,
  oif: u32,
  mark: u32,
  network: fc.uint8Array({ minLength: 1, maxLength: 60 }),
  transport: fc.uint8Array({ minLength: 1, maxLength: 20 }),
}, { requiredKeys: ["id", "family", "table", "chain", "type", "verdict"] });

Deno.test("readNftTrace() reads what the kernel writes, whatever stands above a verdict", () => {
  fc.assert(fc.property(events, fc.integer({ min: 0, max: 0x7fff }), (event, upperBits) => {
    assertEquals(read(encode(event, upperBits)), event);
  }));
});

Deno.test("readNftTrace() reads a base chain's policy, which has no verdict", () => {
  for (const verdict of ["accept", "drop"] as const) {
    const event = {
      id: 1,
      family: "inet",
      table: "t",
      chain: "c",
      type: "policy",
      verdict,
    } as const;
    assertEquals(read(encode(event)), event);
  }
});

Deno.test("readNftTrace() passes over types that it does not know", () => {
  const event = {
    id: 1,
    family: "ip",
    table: "t",
    chain: "c",
    type: "rule",
    verdict: "drop",
  } as const;
  const bytes = encode(event);
  // NFTA_TRACE_TYPE is the second attribute: behind the headers and eight bytes of the first.
  bytes[16 + 4 + 8 + 7] = 9;
  assertEquals(read(bytes), undefined);
});

Deno.test("readNftTrace() of any bytes is an event, nothing, or a NetlinkFormatError", () => {
  fc.assert(fc.property(events, fc.nat(), fc.integer({ min: 0, max: 255 }), (event, at, value) => {
    const bytes = encode(event);
    bytes[16 + at % (bytes.length - 16)] = value;
    try {
      read(bytes);
    } catch (error) {
      if (!(error instanceof NetlinkFormatError)) throw error;
    }
  }));
});
