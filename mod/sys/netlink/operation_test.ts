import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../ip/mod.ts";
import { readAddress } from "./objects/address.ts";
import { MAX_REQUEST_BYTES } from "./batch.ts";
import { MessageCursor } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import { readFdbEntry, readNeighbour } from "./objects/neighbour.ts";
import { describeObject, requestName, writeOperation } from "./operation.ts";
import { readRoute } from "./objects/route.ts";
import type { Operation } from "./wire/types.ts";

const u8 = fc.integer({ min: 0, max: 0xff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const index = fc.integer({ min: 1, max: 0x7fffffff });
const mac = fc.array(u8, { minLength: 6, maxLength: 6 })
  .map((octets) => octets.map((octet) => octet.toString(16).padStart(2, "0")).join(":"));
const optional = { noNullPrototype: true };

const route = fc.record({
  destination: fc.tuple(u32, fc.integer({ min: 0, max: 32 }))
    .map(([address, length]) => new Prefix(address, length)),
  gateway: u32,
  oif: index,
  onlink: fc.boolean(),
  protocol: u8,
  scope: u8,
  table: fc.integer({ min: 1, max: 0xffffffff }),
  source: u32,
  metric: u32,
}, {
  ...optional,
  requiredKeys: ["destination", "oif", "onlink", "protocol", "scope", "table", "metric"],
});
const neighbour = fc.record({
  index,
  address: u32,
  mac,
  state: fc.integer({ min: 0, max: 0xffff }),
}, optional);
const fdb = fc.record({
  index,
  mac,
  destination: u32,
  state: fc.integer({ min: 0, max: 0xffff }),
}, { ...optional, requiredKeys: ["index", "mac", "state"] });
const address = fc.record({
  index,
  address: u32,
  prefixLength: fc.integer({ min: 0, max: 32 }),
  scope: u8,
  flags: u32,
}, optional);

const operation = fc.tuple(
  fc.constantFrom("add", "replace", "delete"),
  fc.oneof(
    fc.tuple(fc.constant("route"), route),
    fc.tuple(fc.constant("neighbour"), neighbour),
    fc.tuple(fc.constant("fdb"), fdb),
    fc.tuple(fc.constant("address"), address),
  ),
).map(([op, [kind, object]]) => ({ op, kind, object }) as Operation);

const READERS = {
  route: (message: MessageCursor) => readRoute(message),
  neighbour: (message: MessageCursor) => readNeighbour(message),
  fdb: (message: MessageCursor) => readFdbEntry(message),
  address: (message: MessageCursor) => readAddress(message),
};

Deno.test("writeOperation() writes every object so that it reads back the same", () => {
  fc.assert(fc.property(fc.array(operation, { maxLength: 10 }), u32, (operations, first) => {
    const writer = new MessageWriter();
    operations.forEach((operation, i) => writeOperation(writer, (first + i) >>> 0, operation));
    const cursor = new MessageCursor();
    cursor.enter(new DataView(writer.bytes.buffer), 0, writer.length);
    operations.forEach((operation, i) => {
      assertEquals(cursor.next(), true);
      assertEquals(cursor.sequence, (first + i) >>> 0);
      assertEquals(READERS[operation.kind](cursor) as unknown, operation.object as unknown);
    });
    assertEquals(cursor.next(), false);
  }));
});

Deno.test("writeOperation() never needs more than MAX_REQUEST_BYTES bytes", () => {
  fc.assert(fc.property(operation, (operation) => {
    const writer = new MessageWriter();
    writeOperation(writer, 1, operation);
    return writer.length <= MAX_REQUEST_BYTES && writer.length % 4 === 0;
  }));
});

Deno.test("requestName() and describeObject() name request and object for an operator", () => {
  const destination = Prefix.parse("10.20.93.0/24")!;
  const operations: Operation[] = [
    {
      op: "delete",
      kind: "route",
      object: {
        destination,
        gateway: destination.address,
        oif: 7,
        onlink: true,
        protocol: 17,
        scope: 0,
        table: 254,
        metric: 0,
      },
    },
    {
      op: "add",
      kind: "fdb",
      object: { index: 7, mac: "c6:8a:3d:5f:56:2e", destination: 0xc0a83866, state: 0x80 },
    },
    {
      op: "replace",
      kind: "address",
      object: { index: 7, address: destination.address, prefixLength: 32, scope: 0, flags: 0 },
    },
  ];
  assertEquals(
    operations.map((operation) => `${requestName(operation)} ${describeObject(operation)}`),
    [
      "RTM_DELROUTE 10.20.93.0/24 via 10.20.93.0 on interface 7",
      "RTM_NEWNEIGH c6:8a:3d:5f:56:2e dst 192.168.56.102 on interface 7",
      "RTM_NEWADDR 10.20.93.0/32 on interface 7",
    ],
  );
});
