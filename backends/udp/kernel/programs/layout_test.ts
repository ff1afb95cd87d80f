import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../../../mod/ip/mod.ts";
import {
  groValue,
  peerKey,
  raw16,
  raw32,
  readGroSecret,
  readPeerKey,
  readRouteKey,
  readRouteValue,
  routeKey,
  routeValue,
} from "./layout.ts";

const address = fc.integer({ min: 0, max: 0xffffffff });

Deno.test("routeKey(), routeValue() and peerKey() are decoded to the same values", () => {
  const length = fc.integer({ min: 0, max: 32 });
  fc.assert(
    fc.property(
      address,
      length,
      address,
      fc.boolean(),
      fc.boolean(),
      (ip, length, publicIP, carried, other) => {
        const subnet = new Prefix(ip, length);
        assertEquals(readRouteKey(routeKey(subnet)).key, subnet.key);
        const accepted = carried || other;
        const value = routeValue({ subnet, publicIP, carried, accepted });
        assertEquals(readRouteValue(new DataView(value.buffer)), { publicIP, carried, accepted });
        assertEquals(readPeerKey(peerKey(publicIP)), publicIP);
      },
    ),
  );
});

Deno.test("routeKey() encodes a length, then the address in network order, as the kernel's trie requires", () => {
  assertEquals([...routeKey(Prefix.parse("10.40.1.0/24")!)], [24, 0, 0, 0, 10, 40, 1, 0]);
});

Deno.test("raw16() and raw32() return the numbers that a little-endian load finds", () => {
  fc.assert(fc.property(address, (value) => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, false);
    assertEquals(raw32(value), view.getUint32(0, true));
    assertEquals(raw16(value >>> 16), view.getUint16(0, true));
  }));
});

Deno.test("groValue() encodes the headers between UDP header and inner packet, and a port", () => {
  const address = {
    vni: 8285,
    mac: "02:11:22:33:44:55",
    secret: "06:a1:a2:a3:a4:a5",
    port: 28_285,
  };
  const value = groValue(address);
  assertEquals(
    [...value],
    [
      ...[0x08, 0, 0, 0, 0x00, 0x20, 0x5d, 0],
      ...[0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x06, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0x08, 0x00],
      ...[0x6e, 0x7d],
    ],
  );
  assertEquals(readGroSecret(new DataView(value.buffer)), address.secret);
  assertEquals(readGroSecret(new DataView(new ArrayBuffer(24))), undefined);
});
