import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LEASE_TTL, PERMANENT } from "../lease/mod.ts";
import { renewalDelay } from "./renewal.ts";

const HOUR = 3600;

Deno.test("renewalDelay() is the time to live less the margin", () => {
  assertEquals(renewalDelay(LEASE_TTL, HOUR, () => 0), 23 * HOUR);
  assertEquals(renewalDelay(1000, 60, () => 0), 940);
});

Deno.test("renewalDelay() takes an unknown time to live for 24 hours", () => {
  assertEquals(renewalDelay(undefined, HOUR, () => 0), 23 * HOUR);
});

Deno.test("renewalDelay() is undefined for a reservation", () => {
  assertEquals(renewalDelay(PERMANENT, HOUR), undefined);
});

Deno.test("renewalDelay() comes forward by up to a quarter of the wait", () => {
  const almostOne = 1 - 2 ** -53;
  assertEquals(renewalDelay(LEASE_TTL, HOUR, () => 0.5), 23 * HOUR * 0.875);
  assertEquals(Math.round(renewalDelay(LEASE_TTL, HOUR, () => almostOne)!), 23 * HOUR * 0.75);
  // With the longest margin there is a minute to wait.
  assertEquals(renewalDelay(LEASE_TTL, 1439 * 60, () => 0), 60);
  assertEquals(Math.round(renewalDelay(LEASE_TTL, 1439 * 60, () => almostOne)!), 45);
});

Deno.test("renewalDelay() is nothing when the margin is reached already", () => {
  assertEquals(renewalDelay(30, HOUR, () => 0), 0);
  assertEquals(renewalDelay(HOUR, HOUR, () => 0.9), 0);
});

Deno.test("renewalDelay() lies between nothing and the time that is left", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 10 * LEASE_TTL }),
    fc.integer({ min: 60, max: 1439 * 60 }),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (ttl, margin, random) => {
      const delay = renewalDelay(ttl, margin, () => random)!;
      const due = Math.max(ttl - margin, 0);
      assert(delay >= 0 && delay <= due);
      assert(delay >= 0.75 * due - 1e-6);
    },
  ));
});
