import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../text/testing/character.ts";
import { parseIPv4 } from "../ip/mod.ts";
import type { JsonValue, LeaseAttributes } from "./lease.ts";
import { decodeLeaseValue, encodeLeaseValue, LeaseValueError, sameAttributes } from "./value.ts";

const ip = (text: string) => parseIPv4(text)!;

/** Values of flannel: the 0.7.1 form, the newer form, and their attributes. */
const VALUES: readonly (readonly [v07: string, v020: string, LeaseAttributes])[] = [
  [
    '{"PublicIP":"1.2.3.4"}',
    '{"PublicIP":"1.2.3.4","PublicIPv6":null}',
    { publicIP: ip("1.2.3.4") },
  ],
  [
    '{"PublicIP":"172.28.128.101","BackendType":"host-gw"}',
    '{"PublicIP":"172.28.128.101","PublicIPv6":null,"BackendType":"host-gw"}',
    { publicIP: ip("172.28.128.101"), backendType: "host-gw" },
  ],
  [
    '{"PublicIP":"172.28.128.101","BackendType":"vxlan",' +
    '"BackendData":{"VtepMAC":"c6:8a:3d:5f:56:2e"}}',
    '{"PublicIP":"172.28.128.101","PublicIPv6":null,"BackendType":"vxlan",' +
    '"BackendData":{"VtepMAC":"c6:8a:3d:5f:56:2e"}}',
    {
      publicIP: ip("172.28.128.101"),
      backendType: "vxlan",
      backendData: { VtepMAC: "c6:8a:3d:5f:56:2e" },
    },
  ],
  [
    '{"PublicIP":"172.28.128.101","BackendType":"vxlan",' +
    '"BackendData":{"VNI":1,"VtepMAC":"a2:3f:60:cf:ae:07"}}',
    '{"PublicIP":"172.28.128.101","PublicIPv6":null,"BackendType":"vxlan",' +
    '"BackendData":{"VNI":1,"VtepMAC":"a2:3f:60:cf:ae:07"}}',
    {
      publicIP: ip("172.28.128.101"),
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: "a2:3f:60:cf:ae:07" },
    },
  ],
  [
    '{"PublicIP":"1.2.3.4","BackendType":"extension","BackendData":"10 20\\n"}',
    '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"extension","BackendData":"10 20\\n"}',
    { publicIP: ip("1.2.3.4"), backendType: "extension", backendData: "10 20\n" },
  ],
  [
    String
      .raw`{"PublicIP":"1.2.3.4","BackendType":"extension","BackendData":"\u003ca\u003e \u0026"}`,
    String.raw`{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"extension",` +
    String.raw`"BackendData":"\u003ca\u003e \u0026"}`,
    { publicIP: ip("1.2.3.4"), backendType: "extension", backendData: "<a> &" },
  ],
];

const attributes: fc.Arbitrary<LeaseAttributes> = fc.record({
  publicIP: fc.nat(0xffffffff),
  backendType: fc.string({ minLength: 1 }),
  backendData: fc.jsonValue({ stringUnit: CHARACTER }).filter((data) => data !== null)
    .map((data) => JSON.parse(JSON.stringify(data)) as JsonValue),
}, { requiredKeys: ["publicIP"] });

Deno.test("encodeLeaseValue() writes both of flannel's forms byte for byte", () => {
  for (const [v07, v020, attributes] of VALUES) {
    assertEquals(encodeLeaseValue(attributes, "v0.7"), v07);
    assertEquals(encodeLeaseValue(attributes, "v0.20"), v020);
  }
});

Deno.test("decodeLeaseValue() reads both forms alike", () => {
  for (const [v07, v020, attributes] of VALUES) {
    assertEquals(decodeLeaseValue(v07), attributes);
    assertEquals(decodeLeaseValue(v020), attributes);
  }
});

Deno.test("decodeLeaseValue() undoes encodeLeaseValue() in either form", () => {
  fc.assert(fc.property(attributes, fc.constantFrom("v0.7", "v0.20"), (value, form) => {
    assertEquals(decodeLeaseValue(encodeLeaseValue(value, form)), value);
  }));
});

Deno.test("decodeLeaseValue() matches keys without regard to case and ignores the rest", () => {
  assertEquals(
    decodeLeaseValue(
      ' {"publicip": "1.2.3.4", "PUBLICIPV6": "fd00::1", "backendTYPE": "vxlan",\n' +
        '"BackendData": {"VtepMAC": "c6:8a:3d:5f:56:2e"}, "BackendV6Data": {}, "x": [1]} ',
    ),
    {
      publicIP: ip("1.2.3.4"),
      backendType: "vxlan",
      backendData: { VtepMAC: "c6:8a:3d:5f:56:2e" },
    },
  );
  assertEquals(decodeLeaseValue('{"__proto__":{"BackendType":"x"},"PublicIP":"1.2.3.4"}'), {
    publicIP: ip("1.2.3.4"),
  });
});

Deno.test("decodeLeaseValue() takes null and an empty type for absent", () => {
  const text = '{"PublicIP":"1.2.3.4","BackendType":null,"BackendData":null}';
  assertEquals(decodeLeaseValue(text), { publicIP: ip("1.2.3.4") });
  assertEquals(decodeLeaseValue('{"PublicIP":"1.2.3.4","BackendType":""}'), {
    publicIP: ip("1.2.3.4"),
  });
});

Deno.test("decodeLeaseValue() names the reason when it cannot read a value", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["", "is not JSON"],
    ["1.2.3.4", "is not JSON"],
    ['{"PublicIP":"1.2.3.4"', "is not JSON"],
    ["null", "is not a JSON object"],
    ['"1.2.3.4"', "is not a JSON object"],
    ['["1.2.3.4"]', "is not a JSON object"],
    ["{}", "has PublicIP undefined, not an IPv4 address"],
    ['{"PublicIP":null,"PublicIPv6":"fd00::1"}', "has PublicIP null, not an IPv4 address"],
    ['{"PublicIP":"fd00::1"}', 'has PublicIP "fd00::1", not an IPv4 address'],
    ['{"PublicIP":"1.2.3"}', 'has PublicIP "1.2.3", not an IPv4 address'],
    ['{"PublicIP":16909060}', "has PublicIP 16909060, not an IPv4 address"],
    ['{"PublicIP":"1.2.3.4","BackendType":7}', "has BackendType 7, not a string"],
  ];
  for (const [text, message] of cases) {
    const error = assertThrows(() => decodeLeaseValue(text), LeaseValueError);
    assertEquals(error.message, message, text);
  }
});

Deno.test("decodeLeaseValue() quotes no more of a value than a line bears", () => {
  for (const member of [{ PublicIP: "x".repeat(5000) }, { BackendType: Array(1000).fill(1) }]) {
    const text = JSON.stringify({ PublicIP: "1.2.3.4", ...member });
    const error = assertThrows(() => decodeLeaseValue(text), LeaseValueError);
    assert(error.message.length < 150 && error.message.includes("..."), error.message);
  }
});

Deno.test("decodeLeaseValue() refuses a value so long that it may nest too deep to be walked", () => {
  const nested = (depth: number) =>
    `{"PublicIP":"1.2.3.4","BackendData":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  const deepest = Math.floor((8192 - nested(0).length) / 2);
  const [a, b] = [decodeLeaseValue(nested(deepest)), decodeLeaseValue(nested(deepest))];
  assert(sameAttributes(a, b));
  assert(sameAttributes(decodeLeaseValue(encodeLeaseValue(a, "v0.7")), b));
  const error = assertThrows(() => decodeLeaseValue(nested(deepest + 1)), LeaseValueError);
  const { length } = nested(deepest + 1);
  assertEquals(error.message, `is ${length} characters long, more than 8192`);
});

Deno.test("decodeLeaseValue() refuses a value that would be too long to be read when it is written again", () => {
  const text = (count: number) =>
    `{"PublicIP":"1.2.3.4","BackendData":[${Array(count).fill("1e20").join()}]}`;
  assertThrows(
    () => decodeLeaseValue(text(400)),
    LeaseValueError,
    "is 8838 characters long, more than 8192",
  );
  const value = decodeLeaseValue(text(300));
  assertEquals(decodeLeaseValue(encodeLeaseValue(value, "v0.20")), value);
});

Deno.test("decodeLeaseValue() throws nothing else, whatever the text", () => {
  const member = fc.tuple(
    fc.constantFrom("PublicIP", "publicip", "BackendType", "BackendData", "x"),
    fc.oneof(fc.json(), fc.constantFrom('"1.2.3.4"', "null")),
  ).map(([key, value]) => `"${key}":${value}`);
  const object = fc.array(member, { maxLength: 4 }).map((members) => `{${members.join()}}`);
  fc.assert(fc.property(fc.oneof(object, fc.json(), fc.string()), (text) => {
    try {
      const value = decodeLeaseValue(text);
      assertEquals(decodeLeaseValue(encodeLeaseValue(value, "v0.20")), value);
    } catch (error) {
      if (!(error instanceof LeaseValueError)) throw error;
    }
  }));
});

Deno.test("sameAttributes() ignores the form and the order of keys", () => {
  const base = VALUES[3]![2];
  assert(sameAttributes(base, { ...base }));
  assert(sameAttributes(base, { ...base, backendData: { VNI: 1, VtepMAC: "a2:3f:60:cf:ae:07" } }));
  // As a tool that sorts keys would write it back.
  assert(sameAttributes(base, { ...base, backendData: { VtepMAC: "a2:3f:60:cf:ae:07", VNI: 1 } }));
  const { backendData: _, ...bare } = base;
  const others: LeaseAttributes[] = [
    bare,
    { ...base, publicIP: ip("1.2.3.4") },
    { ...base, backendType: "host-gw" },
    { ...base, backendData: { VNI: 2, VtepMAC: "a2:3f:60:cf:ae:07" } },
    { ...base, backendData: { VtepMAC: "a2:3f:60:cf:ae:07" } },
    { ...base, backendData: { VNI: 1, VtepMAC: "a2:3f:60:cf:ae:07", Port: 1 } },
    { ...base, backendData: "text" },
  ];
  for (const other of others) {
    assert(!sameAttributes(base, other) && !sameAttributes(other, base), JSON.stringify(other));
  }
});

Deno.test("sameAttributes() distinguishes similar values", () => {
  const data = (text: string) => decodeLeaseValue(`{"PublicIP":"1.2.3.4","BackendData":${text}}`);
  const pairs = [
    ["{}", "[]"],
    ['{"0":1}', "[1]"],
    ['{"a":{}}', '{"a":[]}'],
    ['{"a":null}', '{"b":null}'],
    ['{"__proto__":{}}', '{"b":{}}'],
    ["0", "false"],
    ['""', "0"],
    ["[1,2]", "[2,1]"],
    ['"1"', "1"],
  ] as const;
  for (const [a, b] of pairs) {
    assert(!sameAttributes(data(a), data(b)) && !sameAttributes(data(b), data(a)), `${a} ${b}`);
    assert(sameAttributes(data(a), data(a)) && sameAttributes(data(b), data(b)), `${a} ${b}`);
  }
});

/** The same value with the keys of each object in sorted order. */
function canonical(value: JsonValue | undefined): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(canonical);
  const members = Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1);
  return { members: members.map(([key, member]) => [key, canonical(member)]) };
}

Deno.test("sameAttributes() agrees with comparing texts whose keys are sorted", () => {
  const text = (value: LeaseAttributes) =>
    JSON.stringify([value.publicIP, value.backendType, canonical(value.backendData)]);
  const few: fc.Arbitrary<LeaseAttributes> = fc.record({
    publicIP: fc.constantFrom(1, 2),
    backendData: fc.oneof(
      fc.jsonValue({ maxDepth: 2 }).filter((data) => data !== null)
        .map((data) => JSON.parse(JSON.stringify(data)) as JsonValue),
      fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom<JsonValue>(1, null, [1], {})),
    ),
  }, { requiredKeys: ["publicIP"] });
  fc.assert(fc.property(few, few, (a, b) => {
    assertEquals(sameAttributes(a, b), text(a) === text(b));
    assert(sameAttributes(a, structuredClone(a) as LeaseAttributes));
  }));
});
