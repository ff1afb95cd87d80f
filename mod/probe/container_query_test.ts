import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type ContainerAnswer,
  type ContainerQuery,
  decodeContainerMessage,
  encodeContainerMessage,
  NONCE_LENGTH,
  QUERY_LENGTH,
} from "./container_query.ts";

const nonce = fc.uint8Array({ minLength: NONCE_LENGTH, maxLength: NONCE_LENGTH });
const address = fc.integer({ min: 1, max: 0xffffffff });
const query = fc.record({
  type: fc.constant("query" as const),
  nonce,
  target: fc.option(address, { nil: undefined }),
});
const target = fc.constantFrom("not-asked", "answered", "silent", "not-sent");
const answer = fc.oneof(
  fc.record({
    ...{ type: fc.constant("answer" as const), nonce, target },
    containers: fc.constantFrom("no-bridge", "none", "silent"),
    container: fc.constant(undefined),
  }),
  fc.record({
    ...{ type: fc.constant("answer" as const), nonce, target },
    ...{ containers: fc.constant("answers" as const), container: address },
  }),
) as fc.Arbitrary<ContainerAnswer>;
const message: fc.Arbitrary<ContainerQuery | ContainerAnswer> = fc.oneof(query, answer);

function decode(bytes: Uint8Array<ArrayBuffer>, start = 0, end = bytes.length) {
  return decodeContainerMessage(new DataView(bytes.buffer), start, end);
}

Deno.test("encodeContainerMessage() and decodeContainerMessage() undo each other, a query as long as its answer", () => {
  fc.assert(fc.property(message, fc.nat(64), (message, offset) => {
    const encoded = encodeContainerMessage(message);
    assertEquals(encoded.length, QUERY_LENGTH);
    const bytes = new Uint8Array(offset + encoded.length + 3);
    bytes.set(encoded, offset);
    assertEquals(decode(bytes, offset, offset + encoded.length), message);
  }));
});

Deno.test("encodeContainerMessage() writes the bytes of the table in its module", () => {
  const nonce = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
  const hex = (message: ContainerQuery | ContainerAnswer) =>
    encodeContainerMessage(message).toHex();
  assertEquals(
    hex({ type: "query", nonce, target: 0x0a142302 }),
    "666c6e6c63747231" + "01000000" + "0102030405060708" + "0a142302" + "0000000000000000",
  );
  assertEquals(
    hex({ type: "answer", nonce, containers: "answers", container: 0x0a145702, target: "silent" }),
    "666c6e6c63747231" + "02030200" + "0102030405060708" + "0a145702" + "0000000000000000",
  );
});

Deno.test("decodeContainerMessage() refuses other bytes", () => {
  fc.assert(fc.property(message, fc.nat(QUERY_LENGTH - 1), (message, cut) => {
    const bytes = encodeContainerMessage(message);
    // Cut short, or one byte too long.
    assertEquals(decode(bytes, 0, cut), undefined);
    const longer = new Uint8Array(QUERY_LENGTH + 1);
    longer.set(bytes);
    assertEquals(decode(longer), undefined);
  }));
  fc.assert(
    fc.property(message, fc.nat(8), fc.integer({ min: 3, max: 255 }), (message, at, byte) => {
      const bytes = encodeContainerMessage(message);
      fc.pre(bytes[at] !== byte);
      bytes[at] = byte;
      assertEquals(decode(bytes), undefined);
    }),
  );
  const random = fc.uint8Array({ minLength: 0, maxLength: 64 });
  fc.assert(fc.property(random, (bytes) => {
    assertEquals(decode(new Uint8Array(bytes)), undefined);
  }));
  // States that there are not, and a container that answers without an address.
  const none = { type: "answer", containers: "none", container: undefined } as const;
  const valid = encodeContainerMessage({ ...none, nonce: new Uint8Array(8), target: "silent" });
  for (const [at, byte] of [[9, 4], [10, 4], [9, 3], [23, 1]] as const) {
    const bytes = valid.slice();
    bytes[at] = byte;
    assertEquals(decode(bytes), undefined);
  }
});
