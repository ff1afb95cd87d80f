import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { leaseKey, parseLeaseKey } from "./key.ts";

const subnet = fc.tuple(fc.nat(0xffffffff), fc.nat(31)).map(([address, length]) =>
  new Prefix(address, length)
);

Deno.test("leaseKey() writes address, dash, length", () => {
  assertEquals(leaseKey(Prefix.parse("10.20.93.0/24")!), "10.20.93.0-24");
  assertEquals(leaseKey(Prefix.parse("0.0.0.0/0")!), "0.0.0.0-0");
});

Deno.test("parseLeaseKey() refuses all that newer flannel's own test refuses", () => {
  const keys = [
    ...["10", "10.12.13.0", "10.12.13-24", "10.12.13.300-24", "10.12.13.0-24hi", "&2001::-56"],
    ...["10.12.13.0-24&:12:13:-56", "10.12.13.0-24&20011::-56", "10.12.13.0-24&2001-56"],
    ...["10.12.13.0-24&2001::", "10.12.13.0-24&2001::-56hi"],
  ];
  for (const key of keys) assertEquals(parseLeaseKey(key), undefined, key);
});

Deno.test("parseLeaseKey() refuses keys of other entries", () => {
  const keys = [
    ...["", "-", "foo", "10.12.13.0-", "-24", "10.12.13.0/24", "10.12.13.0_24"],
    // A pattern that is only searched for, as 0.7.1 does, would find these.
    ...["x10.12.13.0-24", "10.12.13.0-24/x", "10.12.13.0-24\n", " 10.12.13.0-24"],
    // flannel keeps the length in five bits.
    ...["10.12.13.0-32", "10.12.13.0-33", "10.12.13.0-99", "10.12.13.0-240"],
    // Host bits, dual stack.
    ...["10.12.13.1-24", "10.12.13.0-16", "10.12.13.0-24&fd00:12:13::-56"],
    // A second spelling of a key would be a second lease of one subnet.
    ...["010.12.13.0-24", "10.12.13.0-024", "10.0.0.0-08", "10.0.0.0-00"],
  ];
  for (const key of keys) assertEquals(parseLeaseKey(key), undefined, JSON.stringify(key));
});

Deno.test("parseLeaseKey() and leaseKey() undo each other", () => {
  fc.assert(fc.property(subnet, (value) => {
    assertEquals(parseLeaseKey(leaseKey(value)), value);
  }));
  const parts = fc.tuple(fc.ipV4(), fc.constantFrom("-", "/", "&"), fc.nat(40), fc.boolean());
  const keys = parts.map(([address, dash, length, pad]) =>
    `${address}${dash}${pad ? String(length).padStart(2, "0") : length}`
  );
  fc.assert(fc.property(fc.oneof(keys, fc.string()), (key) => {
    const value = parseLeaseKey(key);
    if (value !== undefined) assertEquals(leaseKey(value), key);
  }));
});
