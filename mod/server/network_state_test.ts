import { assertEquals, assertStringIncludes } from "@std/assert";
import { Entries } from "../store/entries.ts";
import { encodeWireLease } from "../store/remote/flannel/protocol.ts";
import { net, vxlan } from "../store/testing/store_lab.ts";
import { NetworkState } from "./network_state.ts";

const LEASE = { subnet: net("10.73.43.0/24"), attributes: vxlan("172.28.128.101"), revision: "1" };

Deno.test("NetworkState.onWire() returns the same time of one revision each time", () => {
  let now = Date.UTC(2026, 10, 25);
  const state = new NetworkState(new Entries("/_"), () => now);
  const { expiration } = state.onWire({ ...LEASE, ttl: 60 });
  assertEquals(expiration, now + 60_000);
  now += 5_000;
  assertEquals(state.onWire({ ...LEASE, ttl: 55 }).expiration, expiration);
  assertEquals(state.onWire({ ...LEASE, ttl: 60, revision: "2" }).expiration, now + 60_000);
});

Deno.test("NetworkState.onWire() can be written whatever lifetime a client has asked for", () => {
  const lease = new NetworkState(new Entries("/_")).onWire({
    ...LEASE,
    ttl: Number.MAX_SAFE_INTEGER,
  });
  assertStringIncludes(encodeWireLease(lease), '"Expiration":"9999-12-31T23:59:59Z"');
});
