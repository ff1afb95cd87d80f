import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../../mod/ip/mod.ts";
import {
  peerKey,
  raw16,
  raw32,
  readPeerKey,
  readRouteKey,
  readRouteValue,
  routeKey,
  routeValue,
} from "./layout.ts";

const address = fc.integer({ min: 0, max: 0xffffffff });

Deno.test("routeKey(), routeValue() and peerKey() read back the same", () => {
  const length = fc.integer({ min: 0, max: 32 });
  fc.assert(fc.property(address, length, address, fc.boolean(), (ip, length, publicIP, carried) => {
    const subnet = new Prefix(ip, length);
    assertEquals(readRouteKey(routeKey(subnet)).key, subnet.key);
    const value = routeValue({ subnet, publicIP, carried });
    assertEquals(readRouteValue(new DataView(value.buffer)), { publicIP, carried });
    assertEquals(readPeerKey(peerKey(publicIP)), publicIP);
  }));
});

Deno.test("routeKey() is what the kernel's trie wants: a length, then the address as on the wire", () => {
  assertEquals([...routeKey(Prefix.parse("10.40.1.0/24")!)], [24, 0, 0, 0, 10, 40, 1, 0]);
});

Deno.test("raw16() and raw32() are what a little-endian load finds", () => {
  fc.assert(fc.property(address, (value) => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value, false);
    assertEquals(raw32(value), view.getUint32(0, true));
    assertEquals(raw16(value >>> 16), view.getUint16(0, true));
  }));
});
