import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { STORE_KINDS } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { backendOf, formatRound, type Round, scheduleOf, type SchedulePlace } from "./schedule.ts";

const PLACE: SchedulePlace = { store: "v3", backend: "vxlan", hosts: 4, isLong: false };

function rounds(seed: number, place = PLACE, count = 40): Round[] {
  return scheduleOf(seed, FAULTS, place).take(count).toArray();
}

Deno.test("scheduleOf() gives the same rounds for the same seed, and others for another", () => {
  assertEquals(rounds(1), rounds(1));
  assertNotEquals(rounds(1).map(formatRound), rounds(2).map(formatRound));
});

Deno.test("scheduleOf() deals each fault of a place before any a third time, and no fault of another", () => {
  for (const store of STORE_KINDS) {
    const counts = new Map<string, number>();
    const possible = FAULTS.filter((fault) =>
      fault.stores.includes(store) && (fault.backends?.includes("vxlan") ?? true)
    );
    for (const { faults } of scheduleOf(3, FAULTS, { ...PLACE, store })) {
      for (const { name } of faults) counts.set(name, (counts.get(name) ?? 0) + 1);
      if (Math.max(...counts.values()) > 2) break;
    }
    assertEquals([...counts.keys()].sort(), possible.map(({ name }) => name).sort());
  }
});

Deno.test("scheduleOf() lets only such faults overlap that share nothing", () => {
  const places = fc.record({
    store: fc.constantFrom(...STORE_KINDS),
    backend: fc.constantFrom("vxlan", "udp", "host-gw"),
    hosts: fc.integer({ min: 3, max: 6 }),
    isLong: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.nat(), places, (seed, place) => {
      for (const { faults } of rounds(seed, place, 20)) {
        assert(faults.length >= 1 && faults.length <= 3);
        const traits = faults.map(({ name }) => FAULTS.find((fault) => fault.name === name)!);
        if (traits.some(({ scope }) => scope === "cluster")) assertEquals(faults.length, 1);
        const taken = faults.filter((_, i) => traits[i]!.scope === "host").map(({ host }) => host);
        assertEquals(new Set(taken).size, taken.length);
        assert(taken.length <= place.hosts - 2, "two hosts are left");
        const ofStore = traits.filter(({ scope }) => scope === "store").length;
        assert(ofStore <= 1);
        if (place.store === "embedded" && ofStore === 1) assert(!taken.includes(0));
      }
    }),
  );
});

Deno.test("scheduleOf() refuses a place where nothing can happen", () => {
  assertThrows(() => scheduleOf(1, [], PLACE).next(), RangeError, "no fault can happen on v3");
});

Deno.test("backendOf() chooses each backend for some seed", () => {
  const types = new Set(Array.from({ length: 30 }, (_, seed) => backendOf(seed).type));
  assertEquals(types.size, 3);
});

Deno.test("formatRound() shows what to expect", () => {
  const fault = { name: "cut-off", host: 2, delayMs: 100, holdMs: 3_000, seed: 7 };
  assertEquals(
    formatRound({ number: 4, faults: [fault], calmMs: 2_000 }),
    "round 4: +0.1 s cut-off (host 2) for 3.0 s; then calm for 2.0 s",
  );
});
