import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import IPCIDR from "ip-cidr";
import { formatIPv4, type IPv4, parseIPv4 } from "./ipv4.ts";
import { Prefix } from "./prefix.ts";

const address = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 0x80000000, 0xffffffff));
const length = fc.oneof(fc.nat(32), fc.constantFrom(0, 1, 31, 32));
const prefix = fc.tuple(address, length).map(([address, length]) => new Prefix(address, length));

/** Two prefixes that often have to do with each other. */
const pair = fc.oneof(
  fc.tuple(prefix, prefix),
  fc.tuple(prefix, length, address).map(([a, length, host]): [Prefix, Prefix] => [
    a,
    new Prefix(a.address + host % a.size, length),
  ]),
);

/** Membership by comparing with both ends, in numbers that cannot overflow. */
function inside(prefix: Prefix, address: IPv4): boolean {
  const first = Math.floor(prefix.address / prefix.size) * prefix.size;
  return address >= first && address < first + prefix.size;
}

function net(text: string): Prefix {
  return Prefix.parse(text)!;
}

Deno.test("Prefix.parse() masks host bits", () => {
  assertEquals(net("10.1.5.9/16"), new Prefix(parseIPv4("10.1.0.0")!, 16));
  assertEquals(String(net("10.20.93.7/24")), "10.20.93.0/24");
  assertEquals(String(net("255.255.255.255/0")), "0.0.0.0/0");
  assertEquals(String(net("255.255.255.255/32")), "255.255.255.255/32");
  assertEquals(String(net("200.1.2.3/1")), "128.0.0.0/1");
});

Deno.test("Prefix.parse() takes nothing but an address and a length", () => {
  const texts = [
    ...["", "/", "bad", "10.1.0.0", "/16", "10.1.0.0/", "10.1.0.0/33", "10.1.0.0/-1"],
    ...["10.1.0/16", "10.1.0.0/1 6", "10.1.0.0/16 ", " 10.1.0.0/16", "10.1.0.0/16/16"],
    ...["10.1.0.0/1e1", "10.1.0.0/0x8", "10.1.0.0/١", "10.1.0.0/255.255.0.0", "fc00::/48"],
  ];
  for (const text of texts) assertEquals(Prefix.parse(text), undefined, JSON.stringify(text));
});

Deno.test("Prefix.parse() and toString() undo each other", () => {
  fc.assert(fc.property(prefix, (value) => {
    assertEquals(Prefix.parse(value.toString()), value);
    assertEquals(JSON.stringify({ value }), `{"value":"${value}"}`);
  }));
});

Deno.test("Prefix.parse() and ip-cidr agree on both ends and on what lies between", () => {
  fc.assert(fc.property(address, length, address, (host, length, other) => {
    const text = `${formatIPv4(host)}/${length}`;
    const actual = net(text);
    const expected = new IPCIDR(text);
    assertEquals(formatIPv4(actual.address), expected.start());
    assertEquals(formatIPv4(actual.last), expected.end());
    assertEquals(String(actual.size), String(expected.size));
    assertEquals(actual.contains(other), expected.contains(formatIPv4(other)));
    assert(actual.contains(host));
  }));
});

Deno.test("Prefix refuses a length that is none", () => {
  for (const length of [-1, 33, 24.5, NaN, Infinity]) {
    assertThrows(() => new Prefix(0, length), RangeError, `prefix length ${length}`);
  }
});

Deno.test("Prefix knows its mask, size and last address at either extreme", () => {
  assertEquals([net("0.0.0.0/0").mask, net("0.0.0.0/0").size], [0, 2 ** 32]);
  assertEquals(net("0.0.0.0/0").last, 0xffffffff);
  assertEquals([net("1.2.3.4/32").mask, net("1.2.3.4/32").size], [0xffffffff, 1]);
  assertEquals(net("1.2.3.4/32").last, parseIPv4("1.2.3.4"));
  assertEquals(net("10.20.0.0/16").mask, parseIPv4("255.255.0.0"));
});

Deno.test("Prefix.contains() agrees with comparing both ends", () => {
  fc.assert(fc.property(prefix, fc.oneof(address, length), (value, other) => {
    assertEquals(value.contains(other), inside(value, other));
  }));
  fc.assert(fc.property(prefix, (value) => {
    assert(value.contains(value.address) && value.contains(value.last));
    if (value.address > 0) assert(!value.contains(value.address - 1));
    if (value.last < 0xffffffff) assert(!value.contains(value.last + 1));
  }));
});

Deno.test("Prefix.containsPrefix() and overlaps() agree with comparing both ends", () => {
  assert(net("10.20.0.0/16").overlaps(net("10.20.93.0/24")));
  assert(net("10.20.93.0/24").overlaps(net("10.20.0.0/16")));
  assert(!net("10.20.93.0/24").overlaps(net("10.20.94.0/24")));
  fc.assert(fc.property(pair, ([a, b]) => {
    assertEquals(a.containsPrefix(b), inside(a, b.address) && inside(a, b.last));
    assertEquals(a.overlaps(b), a.address <= b.last && b.address <= a.last);
    assertEquals(a.overlaps(b), b.overlaps(a));
  }));
});

Deno.test("Prefix.equals() and key are those of the same address and length alone", () => {
  fc.assert(fc.property(pair, ([a, b]) => {
    assertEquals(a.equals(b), String(a) === String(b));
    assertEquals(a.key === b.key, String(a) === String(b));
    assert(a.key >= 0 && a.key < 2 ** 38);
    assert(a.equals(new Prefix(a.address, a.length)));
  }));
});
