import { assert, assertEquals } from "@std/assert";
import {
  decodeLeaseValue,
  decodeNodeRecord,
  encodeLeaseValue,
  encodeNodeRecord,
  leaseKey,
  LeaseValueError,
  parseLeaseKey,
  sameAttributes,
} from "../../../mod/lease/mod.ts";
import { Entries } from "../../../mod/store/entries.ts";
import { jsonNear, textNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";
import fc from "fast-check";

/** Values as flannel 0.7.1 and 0.20 write them, and what an operator writes by hand. */
export const LEASE_VALUES = [
  '{"PublicIP":"1.2.3.4"}',
  '{"PublicIP":"172.28.128.101","PublicIPv6":null,"BackendType":"host-gw"}',
  '{"PublicIP":"172.28.128.101","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"a2:3f:60:cf:ae:07"}}',
  '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"extension","BackendData":"10 20\\n"}',
  '{"publicip":"1.2.3.4","BACKENDTYPE":"","backendData":[1,{"a":null}]}',
] as const;

/** A record of an agent that asks whether the former holder is alive. */
export const NODE_RECORDS = [
  '{"machineId":"b08d","hostname":"host1","bootId":"f7e8","version":"0.1.0",' +
  '"started":"2026-01-02T03:04:05Z","instance":"1","features":["udp-kernel"],"refuses":"2",' +
  '"claims":{"machineId":"b08d","hostname":"host1","bootId":"f7e8","instance":"2"}}',
] as const;

/** Values that were read as something else than they were written as. */
const FOUND = [
  '{"PublicIP":"172.28.128.101","BackendType":"\\ud800"}',
  '{"PublicIP":"1.2.3.4","BackendType":"extension","BackendData":1e999}',
] as const;

export const leaseValue: FuzzTarget<string> = {
  name: "lease_value",
  seeds: [...LEASE_VALUES, ...FOUND],
  inputs: jsonNear(LEASE_VALUES, ["PublicIP", "BackendType", "BackendData", "publicIP"]),
  start: () => (text) => {
    const read = refusing([LeaseValueError], () => decodeLeaseValue(text));
    if (read === undefined) return;
    for (const form of ["v0.7", "v0.20"] as const) {
      // Go's escapes make a long value longer than is read; other programs write it without them.
      const written = JSON.stringify(JSON.parse(encodeLeaseValue(read, form)));
      assert(sameAttributes(decodeLeaseValue(written), read), written);
    }
  },
};

export const nodeRecord: FuzzTarget<string> = {
  name: "node_record",
  seeds: NODE_RECORDS,
  inputs: jsonNear(NODE_RECORDS, ["claims", "features", "refuses", "hostname"]),
  start: () => (text) => {
    const record = decodeNodeRecord(text);
    if (record === undefined) return;
    assertEquals(decodeNodeRecord(encodeNodeRecord(record)), record);
    assert(record.hostname.length <= 253 && record.version.length <= 253);
  },
};

const KEYS = [
  "/coreos.com/network/config",
  "/coreos.com/network/subnets/10.20.93.0-24",
  "/coreos.com/network/subnets/10.20.93.0-24&fd00::-56",
  "/coreos.com/network/agents/192.0.2.7",
  "/coreos.com/network/subnets",
  "/coreos.com/network/blue/config",
] as const;

/** Entries of a store: the meaning of a key, and the decoded value. */
export const storeEntry: FuzzTarget<{ readonly key: string; readonly value: string }> = {
  name: "store_entry",
  seeds: KEYS.map((key, i) => ({ key, value: LEASE_VALUES[i] ?? NODE_RECORDS[0] })),
  inputs: fc.record({
    key: textNear(KEYS, ["/", "-", "&", "10.20.93.0-24", "subnets", "agents"]),
    value: jsonNear([...LEASE_VALUES, ...NODE_RECORDS]),
  }),
  start: () => ({ key, value }) => {
    const warnings: string[] = [];
    const entries = new Entries("/coreos.com/network", {
      warn: (message) => void warnings.push(message),
    });
    const change = entries.put({ key, value, revision: "7", ttl: 60 });
    entries.put({ key, value, revision: "8", ttl: 60 });
    assert(warnings.length <= 1, "warned twice of one key");
    if (change?.type === "lease") {
      assertEquals(key, `/coreos.com/network/subnets/${leaseKey(change.lease.subnet)}`);
      assertEquals(parseLeaseKey(leaseKey(change.lease.subnet)), change.lease.subnet);
    }
    const removal = entries.remove(key, "missing");
    if (change?.type === "lease") assertEquals(removal?.type, "lease-removed");
  },
};
