import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../../text/testing/character.ts";
import {
  AttributeCursor,
  HEADER_LENGTH,
  MessageCursor,
  NetlinkFormatError,
  readPrefix,
} from "./message.ts";
import { MessageWriter } from "./message_writer.ts";

interface Attribute {
  readonly type: number;
  readonly kind: "u8" | "u32" | "port" | "ipv4" | "string" | "flag";
  readonly value: number;
  readonly text: string;
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const attribute: fc.Arbitrary<Attribute> = fc.record({
  type: fc.integer({ min: 1, max: 0x3fff }),
  kind: fc.constantFrom("u8", "u32", "port", "ipv4", "string", "flag"),
  value: u32,
  text: fc.string({ maxLength: 20, unit: CHARACTER }).map((text) => text.replaceAll("\0", "")),
});
const message = fc.record({
  type: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.integer({ min: 0, max: 0xffff }),
  sequence: u32,
  attributes: fc.array(attribute, { maxLength: 8 }),
});

function write(writer: MessageWriter, { type, kind, value, text }: Attribute): void {
  switch (kind) {
    case "u8":
      return writer.attributeU8(type, value & 0xff);
    case "u32":
      return writer.attributeU32(type, value);
    case "port":
      return writer.attributePort(type, value & 0xffff);
    case "ipv4":
      return writer.attributeIPv4(type, value);
    case "string":
      return writer.attributeString(type, text);
    case "flag":
      return writer.attributeFlag(type);
  }
}

function read(cursor: AttributeCursor, kind: Attribute["kind"]): number | string {
  switch (kind) {
    case "u8":
      return cursor.u8();
    case "u32":
      return cursor.u32();
    case "port":
      return cursor.port();
    case "ipv4":
      return cursor.ipv4();
    case "string":
      return cursor.string();
    case "flag":
      return cursor.length;
  }
}

function expected({ kind, value, text }: Attribute): number | string {
  switch (kind) {
    case "u8":
      return value & 0xff;
    case "port":
      return value & 0xffff;
    case "string":
      return new TextDecoder().decode(new TextEncoder().encode(text));
    case "flag":
      return 0;
    default:
      return value;
  }
}

Deno.test("MessageCursor and AttributeCursor read what MessageWriter wrote", () => {
  fc.assert(fc.property(fc.array(message, { maxLength: 6 }), (messages) => {
    // The smallest buffer, so that it grows on the way.
    const writer = new MessageWriter(1);
    for (const { type, flags, sequence, attributes } of messages) {
      writer.begin(type, flags, sequence);
      writer.u32(attributes.length);
      for (const attribute of attributes) write(writer, attribute);
      writer.end();
    }
    const { bytes } = writer;
    // Not at the start of its buffer: offsets must not be taken for absolute.
    const shifted = new Uint8Array(bytes.length + 12);
    shifted.set(bytes, 12);
    const cursor = new MessageCursor().enter(new DataView(shifted.buffer, 8), 4, 4 + bytes.length);
    for (const { type, flags, sequence, attributes } of messages) {
      assertEquals(cursor.next(), true);
      assertEquals([cursor.type, cursor.flags, cursor.sequence], [type, flags, sequence]);
      assertEquals(cursor.view.getUint32(cursor.bodyStart, true), attributes.length);
      const walk = new AttributeCursor();
      walk.enter(cursor.view, cursor.bodyStart + 4, cursor.bodyEnd);
      for (const attribute of attributes) {
        assertEquals(walk.next(), true);
        assertEquals(walk.type, attribute.type);
        assertEquals(read(walk, attribute.kind), expected(attribute));
      }
      assertEquals(walk.next(), false);
    }
    assertEquals(cursor.next(), false);
  }));
});

Deno.test("MessageWriter nests attributes", () => {
  fc.assert(fc.property(fc.array(attribute, { maxLength: 5 }), attribute, (inner, after) => {
    const writer = new MessageWriter(1);
    writer.begin(16, 0, 1);
    const outer = writer.beginNested(18);
    const middle = writer.beginNested(2);
    for (const attribute of inner) write(writer, attribute);
    writer.endNested(middle);
    writer.endNested(outer);
    write(writer, after);
    writer.end();
    const cursor = new MessageCursor();
    cursor.enter(new DataView(writer.bytes.buffer), 0, writer.length);
    cursor.next();
    const walk = new AttributeCursor().enter(cursor.view, cursor.bodyStart, cursor.bodyEnd);
    walk.next();
    assertEquals(walk.type, 18);
    const first = walk.nested();
    first.next();
    assertEquals(first.type, 2);
    const second = first.nested();
    for (const attribute of inner) {
      second.next();
      assertEquals(read(second, attribute.kind), expected(attribute));
    }
    assertEquals([second.next(), first.next()], [false, false]);
    walk.next();
    assertEquals(read(walk, after.kind), expected(after));
  }));
});

Deno.test("MessageWriter leaves nothing of an earlier message in padding", () => {
  const fresh = new MessageWriter();
  const used = new MessageWriter();
  used.begin(1, 1, 1);
  for (let i = 0; i < 20; i++) used.u32(0xffffffff);
  used.end();
  used.reset();
  for (const writer of [fresh, used]) {
    writer.begin(28, 0, 7);
    writer.zeros(12);
    writer.attributeMac(2, "c6:8a:3d:5f:56:2e");
    writer.attributeU8(7, 1);
    writer.attributeString(3, "eth0");
    writer.end();
  }
  assertEquals(used.bytes, fresh.bytes);
});

Deno.test("MessageWriter.abandon() takes back one message and keeps those before", () => {
  const writer = new MessageWriter(1);
  writer.begin(16, 0, 1);
  writer.attributeU32(1, 2);
  writer.end();
  const before = writer.bytes.slice();
  writer.begin(17, 0, 2);
  assertThrows(() => writer.attributeMac(1, "nonsense"), RangeError, "nonsense");
  writer.abandon();
  assertEquals(writer.bytes, before);
  writer.addFlags(4);
  assertEquals(new DataView(writer.bytes.buffer).getUint16(6, true), 4);
});

Deno.test("MessageWriter.attributeMac() and AttributeCursor.mac() agree on every address", () => {
  const octets = fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 6, maxLength: 6 });
  fc.assert(fc.property(octets, fc.boolean(), (octets, upper) => {
    const mac = octets.map((octet) => octet.toString(16).padStart(2, "0")).join(":");
    const writer = new MessageWriter();
    writer.attributeMac(1, upper ? mac.toUpperCase() : mac);
    const cursor = new AttributeCursor();
    cursor.enter(new DataView(writer.bytes.buffer), 0, writer.length);
    cursor.next();
    assertEquals(cursor.mac(), mac);
  }));
});

Deno.test("MessageWriter.attributeMac() refuses what is no MAC", () => {
  const writer = new MessageWriter();
  for (
    const text of [
      "",
      "c6:8a:3d:5f:56",
      "c6:8a:3d:5f:56:2",
      "c6:8a:3d:5f:56:2e:00",
      "c6-8a-3d-5f-56-2e",
      "g6:8a:3d:5f:56:2e",
      "c6:8a:3d:5f:56:2@",
      "c68a3d5f562e",
    ]
  ) assertThrows(() => writer.attributeMac(1, text), RangeError, "not a MAC");
});

Deno.test("MessageCursor never leaves its datagram, whatever the bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const cursor = new MessageCursor().enter(view, 0, bytes.length);
    try {
      let previous = 0;
      while (cursor.next()) {
        assertEquals(cursor.bodyStart >= previous + HEADER_LENGTH, true);
        assertEquals(cursor.bodyEnd <= bytes.length, true);
        previous = cursor.bodyEnd;
        const walk = new AttributeCursor().enter(view, cursor.bodyStart, cursor.bodyEnd);
        while (walk.next()) assertEquals(walk.offset + walk.length <= cursor.bodyEnd, true);
      }
    } catch (error) {
      if (!(error instanceof NetlinkFormatError)) throw error;
    }
  }));
});

Deno.test("AttributeCursor refuses to read more than an attribute holds", () => {
  const writer = new MessageWriter();
  writer.attributeU8(1, 1);
  const cursor = new AttributeCursor();
  cursor.enter(new DataView(writer.bytes.buffer), 0, writer.length);
  cursor.next();
  assertThrows(() => cursor.u32(), NetlinkFormatError, "attribute 1 has 1 bytes where 4 belong");
  assertEquals(cursor.mac(), undefined);
});

Deno.test("MessageCursor.fixedPart() refuses a message that ends before", () => {
  const writer = new MessageWriter();
  writer.begin(24, 0, 1);
  writer.zeros(11);
  writer.end();
  const cursor = new MessageCursor().enter(new DataView(writer.bytes.buffer), 0, writer.length);
  cursor.next();
  assertEquals(cursor.fixedPart(11), cursor.bodyStart);
  assertThrows(
    () => cursor.fixedPart(12),
    NetlinkFormatError,
    "message of type 24 has 11 bytes where 12 belong",
  );
});

Deno.test("readPrefix() refuses a length that no IPv4 prefix has", () => {
  assertEquals(`${readPrefix(0x0a140507, 24)}`, "10.20.5.0/24");
  assertThrows(() => readPrefix(0, 33), NetlinkFormatError, "an IPv4 prefix of length 33");
});
