import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { PERMANENT } from "../../../lease/mod.ts";
import { prefixRange, toEntry } from "./keys.ts";

Deno.test("prefixRange() holds what is below the prefix and nothing that begins alike", () => {
  const { key, range_end } = prefixRange("/flannel/network");
  const holds = (name: string) => {
    const bytes = Buffer.from(name);
    return Buffer.compare(key, bytes) <= 0 && Buffer.compare(bytes, range_end) < 0;
  };
  assert(holds("/flannel/network/config"));
  assert(holds("/flannel/network/subnets/10.20.93.0-24"));
  assert(holds("/flannel/network/\u{10ffff}"));
  assert(!holds("/flannel/network"));
  assert(!holds("/flannel/network-b/config"));
  assert(!holds("/flannel/network0"));
  assert(!holds("/flannel/networkb/config"));
});

Deno.test("toEntry() returns an entry without etcd lease as permanent, others without ttl", () => {
  const kv = {
    key: Buffer.from("/n/config"),
    value: Buffer.from("{é}"),
    create_revision: "1",
    mod_revision: "9007199254740993",
    version: "2",
    lease: "0",
  };
  const entry = { key: "/n/config", value: "{é}", revision: "9007199254740993" };
  assertEquals(toEntry(kv), { ...entry, ttl: PERMANENT });
  assertEquals(toEntry({ ...kv, lease: "7587881234" }).ttl, undefined);
});
