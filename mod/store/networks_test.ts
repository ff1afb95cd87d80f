import { assertEquals } from "@std/assert";
import { NameReader } from "./networks.ts";

Deno.test("NameReader reads the configs of networks and nothing else", () => {
  const reader = new NameReader("/x");
  assertEquals(reader.put({ key: "/x/blue/config" }), { type: "added", network: "blue" });
  assertEquals(reader.remove("/x/blue/config"), { type: "removed", network: "blue" });
  for (
    const key of [
      ...["/x/config", "/x/blue", "/x/blue/subnets/10.1.2.0-24", "/x/a/b/config", "/x//config"],
      ...["/x/subnets/config", "/x/agents/config", "/xy/blue/config", "/x/blue/config/x", "/x"],
    ]
  ) {
    assertEquals(reader.put({ key }), undefined, key);
    assertEquals(reader.remove(key), undefined, key);
  }
});
