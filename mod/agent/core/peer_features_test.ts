import { assertEquals } from "@std/assert";
import type { NodeRecord } from "../../lease/mod.ts";
import { PeerFeatures } from "./peer_features.ts";

const identity = { machineId: "m", hostname: "h", bootId: "b", instance: "i" };
const record: NodeRecord = { ...identity, version: "1", started: "2026-01-01T00:00:00Z" };
const stored = (publicIP: number, features?: string[], rest: Partial<NodeRecord> = {}) => ({
  publicIP,
  record: { ...record, ...(features && { features }), ...rest },
  revision: "1",
});

Deno.test("PeerFeatures.takeChanged() names a host when its features differ, and once", () => {
  const features = new PeerFeatures();
  features.put(stored(1, ["x"]));
  features.put(stored(2));
  assertEquals([...features.takeChanged()], [1]);
  features.put(stored(1, ["x"]));
  assertEquals([...features.takeChanged()], []);
  features.put(stored(1));
  assertEquals([...features.takeChanged()], [1]);
  assertEquals(features.of(1), []);
});

Deno.test("PeerFeatures.replace() forgets hosts that are gone", () => {
  const features = new PeerFeatures();
  features.replace([stored(1, ["x"]), stored(2, ["x"]), stored(3, ["x"])]);
  features.takeChanged();
  features.replace([stored(1, ["x"]), stored(2, ["y"])]);
  assertEquals([...features.takeChanged()].sort(), [2, 3]);
  assertEquals([1, 2, 3].map((ip) => features.of(ip)), [["x"], ["y"], []]);
});

Deno.test("PeerFeatures gives a claimant nothing: it may not be the holder", () => {
  const features = new PeerFeatures();
  features.put(stored(1, ["x"]));
  features.put(stored(1, ["x"], { claims: identity }));
  assertEquals(features.of(1), []);
  features.remove(1);
  assertEquals(features.of(1), []);
});

Deno.test("PeerFeatures lets a record that was written without credentials relax nothing", () => {
  const features = new PeerFeatures();
  features.put(stored(1, ["x"], { isUnauthenticated: true }));
  features.put(stored(2, undefined, { isUnauthenticated: true, claims: identity }));
  assertEquals(features.of(1), ["x", "masquerade"]);
  assertEquals(features.of(2), ["masquerade"]);
});
