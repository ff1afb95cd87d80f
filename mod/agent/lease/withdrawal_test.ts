import { assertEquals } from "@std/assert";
import { LEASE_TTL } from "../../lease/mod.ts";
import { makeEmbeddedLab } from "../../store/testing/embedded_lab.ts";
import { ip, record } from "../../store/testing/store_lab.ts";
import { findFeatures } from "./withdrawal.ts";

Deno.test("findFeatures() removes the features from a host's own record, and nothing else", async () => {
  await using lab = makeEmbeddedLab();
  await using store = await lab.open("/network");
  const bare = record("here");
  const features = ["udp-kernel"];
  const put = (address: string, hostname: string) =>
    store.putNodeRecord(ip(address), { ...record(hostname), features }, LEASE_TTL, undefined);
  await put("192.0.2.1", "here");
  const other = await put("192.0.2.2", "there");
  await store.putNodeRecord(ip("192.0.2.3"), bare, LEASE_TTL, undefined);

  const removals = await findFeatures(store, bare, {});
  assertEquals(removals.map(({ what }) => what), [[
    `udp-kernel from the node record of 192.0.2.1 in ${store.name}`,
  ]]);
  for (const { remove } of removals) await remove();
  assertEquals((await store.agent(ip("192.0.2.1")))?.record, bare);
  assertEquals(await store.agent(ip("192.0.2.2")), other);
  assertEquals(await findFeatures(store, bare, {}), []);
});
