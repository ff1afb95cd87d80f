import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import IPCIDR from "ip-cidr";
import { formatIPv4, ipv4ToBytes, isGlobalUnicast, isLinkLocal, parseIPv4 } from "./ipv4.ts";

const address = fc.oneof(
  fc.nat(0xffffffff),
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
);

/** Texts near enough to an address to be mistaken for one. */
const nearly = fc.array(
  fc.oneof(fc.nat(300).map(String), fc.constantFrom("", "0", "00", "01", "256", "1e1", " 1", "-1")),
  { minLength: 1, maxLength: 6 },
).map((parts) => parts.join("."));

Deno.test("parseIPv4() reads a dotted quad in host order", () => {
  assertEquals(parseIPv4("1.2.3.4"), 0x01020304);
  assertEquals(parseIPv4("10.20.93.0"), 0x0a145d00);
  assertEquals(parseIPv4("0.0.0.0"), 0);
  assertEquals(parseIPv4("255.255.255.255"), 0xffffffff);
});

Deno.test("parseIPv4() takes nothing that Go's net.ParseIP would not read as IPv4", () => {
  const texts = [
    ...["", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1*2*3*4"],
    ...["256.0.0.1", "1.2.3.1000", "-1.2.3.4", "+1.2.3.4", "0x1.2.3.4", "1e0.2.3.4"],
    // Leading zeros: octal to some readers.
    ...["01.2.3.4", "1.2.3.04", "00.0.0.0", "1.2.3.010"],
    ...[" 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "1.2.3.4/24", "1.2.3.4%eth0"],
    ...["::1", "::ffff:1.2.3.4", "٣.2.3.4", "１.2.3.4"],
  ];
  for (const text of texts) assertEquals(parseIPv4(text), undefined, JSON.stringify(text));
});

Deno.test("parseIPv4() and formatIPv4() undo each other", () => {
  fc.assert(fc.property(address, (value) => {
    assertEquals(parseIPv4(formatIPv4(value)), value);
  }));
  fc.assert(fc.property(fc.oneof(nearly, fc.string()), (text) => {
    const value = parseIPv4(text);
    if (value !== undefined) assertEquals(formatIPv4(value), text);
  }));
});

Deno.test("parseIPv4() agrees with ip-cidr on what an address is", () => {
  fc.assert(fc.property(fc.oneof(nearly, fc.ipV4()), (text) => {
    const expected = text !== "" && IPCIDR.isValidAddress(text);
    assertEquals(parseIPv4(text) !== undefined, expected, JSON.stringify(text));
  }));
});

Deno.test("ipv4ToBytes() writes network order", () => {
  assertEquals(ipv4ToBytes(0x0a145d01), Uint8Array.of(10, 20, 93, 1));
  fc.assert(
    fc.property(address, fc.uint8Array({ maxLength: 8 }), fc.nat(8), (value, before, after) => {
      const bytes = Uint8Array.of(...before, ...ipv4ToBytes(value), ...new Uint8Array(after));
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      assertEquals(view.getUint32(before.length, false), value);
    }),
  );
});

Deno.test("isLinkLocal() is true of 169.254.0.0/16 alone", () => {
  for (const text of ["169.254.0.0", "169.254.1.2", "169.254.255.255"]) {
    assert(isLinkLocal(parseIPv4(text)!), text);
  }
  for (const text of ["169.253.255.255", "169.255.0.0", "0.0.0.0", "41.254.0.1"]) {
    assert(!isLinkLocal(parseIPv4(text)!), text);
  }
});

Deno.test("isGlobalUnicast() answers as Go's IP.IsGlobalUnicast does", () => {
  const global = ["10.0.0.1", "172.28.128.101", "192.168.0.1", "8.8.8.8", "0.0.0.1", "240.0.0.1"];
  for (const text of global) assert(isGlobalUnicast(parseIPv4(text)!), text);
  const others = [
    ...["0.0.0.0", "255.255.255.255", "127.0.0.1", "127.255.255.255", "169.254.7.7"],
    ...["224.0.0.0", "239.255.255.255"],
  ];
  for (const text of others) assert(!isGlobalUnicast(parseIPv4(text)!), text);
});
