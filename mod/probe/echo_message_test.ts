import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { onesComplementSum } from "../ip/checksum.ts";
import {
  ICMP_HEADER,
  readEcho,
  SHORTEST_ECHO,
  skipIpHeader,
  TOKEN,
  writeEchoRequest,
} from "./echo_message.ts";

const token = fc.uint8Array({ minLength: TOKEN, maxLength: TOKEN });
const length = fc.integer({ min: ICMP_HEADER + TOKEN, max: 1500 });

Deno.test("writeEchoRequest() writes the same bytes as ping", () => {
  // `ping -p ff -s 8`, summed by hand: 0x0800 + 0x1234 + 1 = 0x1a35, inverted.
  const bytes = new Uint8Array(16);
  writeEchoRequest(bytes, 16, {
    identifier: 0x1234,
    sequence: 1,
    token: new Uint8Array(8).fill(0xff),
  });
  assertEquals([...bytes], [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1, ...new Array(8).fill(255)]);
});

Deno.test("writeEchoRequest() and readEcho() undo each other, under a right checksum", () => {
  fc.assert(
    fc.property(
      ...[fc.nat(0xffff), fc.nat(0xffff), token, length, fc.nat(9)] as const,
      (identifier, sequence, token, length, before) => {
        const bytes = new Uint8Array(before + 1500).fill(0xaa);
        writeEchoRequest(bytes.subarray(before), length, { identifier, sequence, token });
        const view = new DataView(bytes.buffer);
        assertEquals(readEcho(view, before, before + length), {
          ...{ isReply: false, identifier, sequence, token },
        });
        // All ones: RFC 1071, 1, step 3.
        assertEquals(onesComplementSum(view, before, length), 0xffff);
        assertEquals([...bytes.slice(before + length)].every((byte) => byte === 0xaa), true);
      },
    ),
  );
});

Deno.test("writeEchoRequest() refuses lengths that do not fit", () => {
  const message = { identifier: 1, sequence: 1, token: new Uint8Array(TOKEN) };
  for (const length of [0, ICMP_HEADER + TOKEN - 1, 101]) {
    assertThrows(() => writeEchoRequest(new Uint8Array(100), length, message), RangeError);
  }
  const short = { ...message, token: new Uint8Array(TOKEN - 1) };
  assertThrows(() => writeEchoRequest(new Uint8Array(100), 100, short), RangeError, "token");
  assertEquals(SHORTEST_ECHO, 36);
});

Deno.test("readEcho() distinguishes requests and replies, and refuses other messages", () => {
  const read = (...bytes: number[]) =>
    readEcho(new DataView(Uint8Array.from(bytes).buffer), 0, bytes.length);
  assertEquals(read(0, 0, 9, 9, 0, 7, 0, 3), {
    ...{ isReply: true, identifier: 7, sequence: 3, token: new Uint8Array() },
  });
  assertEquals(read(0, 0, 9, 9, 0, 7, 0, 3, 1, 2)?.token, Uint8Array.of(1, 2));
  for (const type of [3, 4, 5, 11, 12, 13]) {
    assertEquals(read(type, 0, 9, 9, 0, 7, 0, 3), undefined, String(type));
  }
  assertEquals(read(0, 1, 9, 9, 0, 7, 0, 3), undefined, "no code is defined but 0");
  assertEquals(read(0, 0, 9, 9, 0, 7, 0), undefined);
});

Deno.test("skipIpHeader() and readEcho() never leave the packet", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, likely) => {
    if (likely && bytes.length > 9) {
      bytes[0] = 0x40 | (bytes[0]! & 15);
      bytes[9] = 1;
    }
    const view = new DataView(bytes.buffer);
    const at = skipIpHeader(view, 0, bytes.length);
    if (at === undefined) return;
    assertEquals(at, (bytes[0]! & 15) * 4);
    readEcho(view, at, bytes.length);
  }));
});

Deno.test("skipIpHeader() skips options and refuses other protocols", () => {
  const packet = (first: number, protocol: number) => {
    const bytes = new Uint8Array(60);
    bytes[0] = first;
    bytes[9] = protocol;
    return skipIpHeader(new DataView(bytes.buffer), 0, 60);
  };
  assertEquals(packet(0x45, 1), 20);
  assertEquals(packet(0x4f, 1), 60);
  assertEquals(packet(0x44, 1), undefined);
  assertEquals(packet(0x65, 1), undefined);
  assertEquals(packet(0x45, 17), undefined);
});
