import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { decodeNodeRecord, encodeNodeRecord, type NodeRecord, sameBoot } from "./node_record.ts";

const RECORD: NodeRecord = {
  machineId: "b08dfa6083e7567a1921a715000001fb",
  hostname: "host101",
  bootId: "f7e8b6a9-57d1-4f0e-9c33-5a8f7d1ee3a1",
  version: "0.1.0",
  started: "2026-01-02T03:04:05Z",
  instance: "2f0c",
};

const record: fc.Arbitrary<NodeRecord> = fc.record({
  machineId: fc.string(),
  hostname: fc.string(),
  bootId: fc.string(),
  version: fc.string(),
  started: fc.string(),
  instance: fc.string(),
  features: fc.array(fc.string(), { minLength: 1 }),
  claims: fc.record({
    machineId: fc.string(),
    hostname: fc.string(),
    bootId: fc.string(),
    instance: fc.string(),
  }),
  refuses: fc.string(),
}, { requiredKeys: ["machineId", "hostname", "bootId", "version", "started", "instance"] });

Deno.test("decodeNodeRecord() undoes encodeNodeRecord()", () => {
  fc.assert(fc.property(record, (value) => {
    // The generator's objects have no prototype; the decoder's have.
    assertEquals(decodeNodeRecord(encodeNodeRecord(value)), structuredClone(value));
  }));
});

Deno.test("decodeNodeRecord() keeps unknown members out", () => {
  const text = JSON.stringify({ ...RECORD, later: true, claims: null, refuses: 7 });
  assertEquals(decodeNodeRecord(text), RECORD);
  for (const features of [[], "x", ["x", 7], { 0: "x" }]) {
    assertEquals(decodeNodeRecord(JSON.stringify({ ...RECORD, features })), RECORD);
  }
  const { machineId, hostname, bootId, instance } = RECORD;
  const claims = { machineId, hostname, bootId, instance };
  const later = JSON.stringify({ ...RECORD, claims: { ...claims, later: true } });
  assertEquals(decodeNodeRecord(later), { ...RECORD, claims });
  const half = JSON.stringify({ ...RECORD, claims: { instance, hostname } });
  assertEquals(decodeNodeRecord(half), RECORD);
});

Deno.test("decodeNodeRecord() reads no more of a name than a line bears", () => {
  const text = JSON.stringify({
    ...RECORD,
    hostname: "h".repeat(254),
    version: "1".repeat(1000),
    claims: { ...RECORD, hostname: "c".repeat(1000) },
  });
  const { hostname, version, claims } = decodeNodeRecord(text)!;
  assertEquals(
    [hostname, version, claims?.hostname],
    ["h".repeat(253), "1".repeat(253), "c".repeat(253)],
  );
});

Deno.test("decodeNodeRecord() returns undefined for what is no record", () => {
  const texts = ["", "{", "null", "7", '"x"', "[]", "{}", '{"PublicIP":"1.2.3.4"}'];
  for (const text of texts) assertEquals(decodeNodeRecord(text), undefined, text);
  for (const member of Object.keys(RECORD)) {
    for (const value of [undefined, null, 7, {}]) {
      const text = JSON.stringify({ ...RECORD, [member]: value });
      assertEquals(decodeNodeRecord(text), undefined, text);
    }
  }
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
    assertEquals(decodeNodeRecord(text), undefined);
  }));
});

Deno.test("sameBoot() is true of another agent on the same boot of one machine", () => {
  const restarted: NodeRecord = { ...RECORD, instance: "77aa", started: "x", version: "0.2.0" };
  assert(sameBoot(RECORD, restarted));
  // Clones share the machine id and perhaps the name, a reboot all but the boot id.
  assert(!sameBoot(RECORD, { ...RECORD, bootId: "x" }));
  assert(!sameBoot(RECORD, { ...RECORD, hostname: "x" }));
  assert(!sameBoot(RECORD, { ...RECORD, machineId: "x" }));
});
