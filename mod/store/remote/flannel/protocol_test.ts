import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { decodeNetworkConfig } from "../../../config/mod.ts";
import { Prefix } from "../../../ip/mod.ts";
import type { JsonValue } from "../../../lease/mod.ts";
import {
  decodeLeaseWatch,
  decodeNetworkWatch,
  decodeReservation,
  decodeWireAttributes,
  decodeWireLease,
  encodeLeaseWatch,
  encodeNetworkWatch,
  encodeReservation,
  encodeReservations,
  encodeWireConfig,
  encodeWireLease,
  formatExpiration,
  parseExpiration,
  type WireLease,
} from "./protocol.ts";
import { WireError } from "../wire_error.ts";
import { ip, net, vxlan } from "../../testing/store_lab.ts";

const LEASE: WireLease = {
  subnet: net("10.73.43.0/24"),
  attributes: vxlan("172.28.128.101"),
  expiration: Date.UTC(2026, 10, 25, 16, 54, 6, 120),
};

/** As flannel 0.7.1 writes it. */
const LEASE_TEXT = '{"Subnet":"10.73.43.0/24","Attrs":{"PublicIP":"172.28.128.101",' +
  '"BackendType":"vxlan","BackendData":{"VtepMAC":"c6:8a:3d:5f:56:2e"}},' +
  '"Expiration":"2026-11-25T16:54:06.12Z"}';

const lease: fc.Arbitrary<WireLease> = fc.record({
  subnet: fc.tuple(fc.nat(0xffffffff), fc.nat(32)).map(([address, length]) =>
    new Prefix(address, length)
  ),
  attributes: fc.record({
    publicIP: fc.nat(0xffffffff),
    backendType: fc.string({ minLength: 1 }),
    backendData: fc.jsonValue({ stringUnit: "grapheme" }).filter((data) => data !== null)
      .map((data) => JSON.parse(JSON.stringify(data)) as JsonValue),
  }, { requiredKeys: ["publicIP"] }),
  expiration: fc.option(fc.integer({ min: 0, max: 253402300799999 }), { nil: undefined }),
});
/** A cursor goes into a URL as it is. */
const cursor = fc.stringMatching(/^[A-Za-z0-9._~-]{1,20}$/);

Deno.test("encodeWireConfig() fills the defaults in and keeps Backend as it was written", async () => {
  const encode = async (text: string) => encodeWireConfig(await decodeNetworkConfig(text));
  assertEquals(
    await encode(' {"Network": "10.73.0.0/16"}\n'),
    '{"Network":"10.73.0.0/16","SubnetMin":"10.73.1.0","SubnetMax":"10.73.255.0",' +
      '"SubnetLen":24}\n',
  );
  assertEquals(
    await encode(
      '{"network":"10.73.0.0/16","subnetmin":"10.73.5.0","SubnetLen":28,' +
        '"Backend":1,"backend":{"Type":"vxlan", "VNI": 7,"x":["<", 1.50e1, {}, null, true]}}',
    ),
    '{"Network":"10.73.0.0/16","SubnetMin":"10.73.5.0","SubnetMax":"10.73.255.240",' +
      '"SubnetLen":28,"Backend":{"Type":"vxlan","VNI":7,"x":["\\u003c",1.50e1,{},null,true]}}\n',
  );
});

Deno.test("encodeWireLease() writes a lease byte for byte as 0.7.1", () => {
  assertEquals(encodeWireLease(LEASE), `${LEASE_TEXT}\n`);
  assertEquals(
    encodeWireLease({ ...LEASE, attributes: { publicIP: ip("1.2.3.4") }, expiration: undefined }),
    '{"Subnet":"10.73.43.0/24","Attrs":{"PublicIP":"1.2.3.4"},' +
      '"Expiration":"0001-01-01T00:00:00Z"}\n',
  );
});

Deno.test("encodeLeaseWatch() writes null for the part that an answer does not have", () => {
  assertEquals(
    encodeLeaseWatch({ snapshot: [LEASE], cursor: "33" }),
    `{"events":null,"snapshot":[${LEASE_TEXT}],"cursor":"33"}\n`,
  );
  assertEquals(
    encodeLeaseWatch({ snapshot: [], cursor: "33" }),
    '{"events":null,"snapshot":[],"cursor":"33"}\n',
  );
  assertEquals(
    encodeLeaseWatch({ events: [{ type: "removed", lease: LEASE }], cursor: "34" }),
    `{"events":[{"type":"removed","lease":${LEASE_TEXT}}],"snapshot":null,"cursor":"34"}\n`,
  );
});

Deno.test("encodeNetworkWatch() writes Go's zero lease beside a network's name", () => {
  assertEquals(
    encodeNetworkWatch({ snapshot: ["blue", "red"], cursor: "5" }),
    '{"events":null,"snapshot":["blue","red"],"cursor":"5"}\n',
  );
  assertEquals(
    encodeNetworkWatch({ events: [{ type: "added", network: "blue" }], cursor: "6" }),
    '{"events":[{"type":"added","lease":{"Subnet":"0.0.0.0/0","Attrs":{"PublicIP":"0.0.0.0"},' +
      '"Expiration":"0001-01-01T00:00:00Z"},"network":"blue"}],"snapshot":null,"cursor":"6"}\n',
  );
});

Deno.test("encodeReservations() writes subnet and public IP of each", () => {
  const one = { subnet: net("10.73.43.0/24"), publicIP: ip("1.2.3.4") };
  assertEquals(
    encodeReservations([one, one]),
    '[{"Subnet":"10.73.43.0/24","PublicIP":"1.2.3.4"},' +
      '{"Subnet":"10.73.43.0/24","PublicIP":"1.2.3.4"}]\n',
  );
  assertEquals(encodeReservations([]), "[]\n");
  assertEquals(decodeReservation(encodeReservation(one)), one);
});

Deno.test("decodeWireLease() undoes encodeWireLease()", () => {
  fc.assert(fc.property(lease, (value) => {
    assertEquals(decodeWireLease(encodeWireLease(value)), value);
  }));
});

Deno.test("decodeLeaseWatch() undoes encodeLeaseWatch()", () => {
  const event = fc.record({ type: fc.constantFrom("added" as const, "removed" as const), lease });
  const answer = fc.oneof(
    fc.record({ events: fc.array(event, { minLength: 1 }), cursor }),
    fc.record({ snapshot: fc.array(lease), cursor }),
  );
  fc.assert(fc.property(answer, (value) => {
    assertEquals(decodeLeaseWatch(encodeLeaseWatch(value)), { ...value });
  }));
  // As 0.7.1 itself reads it: no events mean that the snapshot counts.
  for (const text of ['{"events":[],"snapshot":null,"cursor":"1"}', '{"cursor":"1"}']) {
    assertEquals(decodeLeaseWatch(text), { snapshot: [], cursor: "1" });
  }
});

Deno.test("decodeLeaseWatch() leaves out a lease whose value cannot be read, and takes the others", () => {
  const bad = LEASE_TEXT.replace("10.73.43.0", "10.73.44.0").replace("172.28.128.101", "nobody");
  const ignored: string[] = [];
  const decode = (text: string) =>
    decodeLeaseWatch(text, (subnet, why) => ignored.push(`${subnet} ${why}`));
  assertEquals(
    decode(`{"events":null,"snapshot":[${bad},${LEASE_TEXT}],"cursor":"1"}`),
    { snapshot: [LEASE], cursor: "1" },
  );
  assertEquals(ignored, ['10.73.44.0/24 has PublicIP "nobody", not an IPv4 address']);
  // The value that it had before holds no more.
  const { cursor, ...answer } = decode(
    `{"events":[{"type":"added","lease":${bad}},{"type":"added","lease":${LEASE_TEXT}}],` +
      `"snapshot":null,"cursor":"2"}`,
  );
  assertEquals([
    cursor,
    "events" in answer && answer.events.map(({ type, lease }) => [type, lease.subnet]),
  ], [
    "2",
    [["removed", net("10.73.44.0/24")], ["added", LEASE.subnet]],
  ]);
  assertEquals(ignored.length, 2);
});

Deno.test("decodeNetworkWatch() undoes encodeNetworkWatch()", () => {
  const network = fc.string({ minLength: 1 });
  const event = fc.record({ type: fc.constantFrom("added" as const, "removed" as const), network });
  const answer = fc.oneof(
    fc.record({ events: fc.array(event, { minLength: 1 }), cursor }),
    fc.record({ snapshot: fc.array(network), cursor }),
  );
  fc.assert(fc.property(answer, (value) => {
    assertEquals(decodeNetworkWatch(encodeNetworkWatch(value)), { ...value });
  }));
});

Deno.test("decodeWireAttributes() says what it cannot read in Go's words where Go has any", () => {
  assertEquals(decodeWireAttributes('{"PublicIP":"1.2.3.4"}'), { publicIP: ip("1.2.3.4") });
  for (
    const [text, message] of [
      ["", "EOF"],
      ["{", "unexpected end of JSON input"],
      ["hello", "invalid character 'h' looking for beginning of value"],
      ["{}", "the lease's value has PublicIP undefined, not an IPv4 address"],
    ] as const
  ) {
    const error = assertThrows(() => decodeWireAttributes(text), WireError);
    assertEquals(error.message, message);
  }
});

Deno.test("parseExpiration() undoes formatExpiration() to the millisecond", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 253402300799999 }), (time) => {
    assertEquals(parseExpiration(formatExpiration(time)), time);
  }));
  assertEquals(formatExpiration(Date.UTC(2026, 0, 1)), "2026-01-01T00:00:00Z");
  assertEquals(
    parseExpiration("2026-11-25T16:54:06.123456789Z"),
    Date.UTC(2026, 10, 25, 16, 54, 6, 123),
  );
  for (const text of ["", "soon", "2026-11-25", "2026-13-45T99:00:00Z"]) {
    assertThrows(() => parseExpiration(text), WireError);
  }
});

Deno.test("decoders throw nothing but WireError, whatever the text", () => {
  const names = fc.constantFrom("events", "snapshot", "cursor", "Subnet", "Attrs", "Expiration");
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.dictionary(names, fc.jsonValue()).map((value) => JSON.stringify(value)),
  );
  const decoders = [
    ...[decodeLeaseWatch, decodeNetworkWatch, decodeWireLease, decodeWireAttributes],
    decodeReservation,
  ];
  fc.assert(fc.property(text, fc.constantFrom(...decoders), (value, decode) => {
    try {
      decode(value);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
  }));
});
