import { assertEquals } from "@std/assert";
import { NameReader } from "./network_names.ts";

Deno.test("NameReader.nameOf() reads the configs of networks and nothing else", () => {
  const reader = new NameReader("/x");
  assertEquals(reader.nameOf({ key: "/x/blue/config" }), "blue");
  assertEquals(reader.nameOf({ key: "/x/_/config" }), "_");
  assertEquals(reader.nameOf({ key: "/x/blue/config", problem: "is a directory" }), undefined);
  for (
    const key of [
      ...["/x/config", "/x/blue", "/x/blue/subnets/10.1.2.0-24", "/x/a/b/config", "/x//config"],
      ...["/x/subnets/config", "/x/agents/config", "/xy/blue/config", "/x/blue/config/x", "/x"],
    ]
  ) assertEquals(reader.nameOf({ key }), undefined, key);
});

Deno.test("NameReader.nameOf() takes _ below the empty prefix for the unnamed network", () => {
  const reader = new NameReader("");
  assertEquals(reader.nameOf({ key: "/blue/config" }), "blue");
  assertEquals(reader.nameOf({ key: "/_/config" }), undefined);
});
