import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../ip/mod.ts";
import type { JsonValue, Lease, NodeRecord, StoredNodeRecord } from "../../lease/mod.ts";
import {
  type AgentPut,
  type ConfigPut,
  decodeAgent,
  decodeAgentPut,
  decodeConfigPut,
  decodeLease,
  decodeLeasePut,
  decodePoll,
  decodeSnapshot,
  encodeAgent,
  encodeAgentPut,
  encodeConfigPut,
  encodeLease,
  encodeLeasePut,
  encodePoll,
  encodeSnapshot,
  type LeasePut,
  type PollAnswer,
  type ServedSnapshot,
} from "./extension.ts";
import { WireError } from "./protocol.ts";
import type { Change, ConfigText } from "../store.ts";

const subnet = fc.tuple(fc.nat(0xffffffff), fc.nat(32)).map(([address, length]) =>
  new Prefix(address, length)
);
const publicIP = fc.nat(0xffffffff);
const attributes = fc.record({
  publicIP,
  backendType: fc.string({ minLength: 1 }),
  backendData: fc.jsonValue({ stringUnit: "grapheme" }).filter((data) => data !== null)
    .map((data) => JSON.parse(JSON.stringify(data)) as JsonValue),
}, { requiredKeys: ["publicIP"] });
const lease: fc.Arbitrary<Lease> = fc.record({
  subnet,
  attributes,
  ttl: fc.nat(86400),
  revision: fc.string(),
}, { requiredKeys: ["subnet", "attributes", "revision"] });
const record: fc.Arbitrary<NodeRecord> = fc.record({
  ...{ machineId: fc.string(), hostname: fc.string(), bootId: fc.string() },
  ...{ instance: fc.string(), version: fc.string(), started: fc.string() },
});
const agent: fc.Arbitrary<StoredNodeRecord> = fc.record({
  publicIP,
  record,
  revision: fc.string(),
});
const config: fc.Arbitrary<ConfigText> = fc.oneof(
  fc.record({ text: fc.string() }),
  fc.record({ missing: fc.string() }),
);
const snapshot: fc.Arbitrary<ServedSnapshot> = fc.record({
  config,
  leases: fc.array(lease),
  agents: fc.array(agent),
  cursor: fc.string(),
  leaseForm: fc.constantFrom("v0.7" as const, "v0.20" as const),
});
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: fc.constant("config" as const), config }),
  fc.record({ type: fc.constant("lease" as const), lease }),
  fc.record({ type: fc.constant("lease-removed" as const), subnet }),
  fc.record({ type: fc.constant("agent" as const), agent }),
  fc.record({ type: fc.constant("agent-removed" as const), publicIP }),
);
const poll: fc.Arbitrary<PollAnswer> = fc.oneof(
  fc.record({ changes: fc.array(change), cursor: fc.string() }),
  fc.record({ reason: fc.string(), snapshot }),
);
const leasePut: fc.Arbitrary<LeasePut> = fc.record(
  { attributes, ttl: fc.nat(86400), revision: fc.string() },
  { requiredKeys: ["attributes", "ttl"] },
);
const agentPut: fc.Arbitrary<AgentPut> = fc.record(
  { record, ttl: fc.nat(86400), revision: fc.string() },
  { requiredKeys: ["record", "ttl"] },
);
const configPut: fc.Arbitrary<ConfigPut> = fc.record(
  { text: fc.string(), expected: fc.string() },
  { requiredKeys: [] },
);

function undoes<T>(
  arbitrary: fc.Arbitrary<T>,
  encode: (value: T) => string,
  decode: (text: string) => T,
): void {
  Deno.test(`${decode.name}() undoes ${encode.name}(), one line of JSON`, () => {
    fc.assert(fc.property(arbitrary, (value) => {
      const text = encode(value);
      assertEquals(text.indexOf("\n"), text.length - 1);
      assertEquals(JSON.stringify(decode(text)), JSON.stringify(value));
    }));
  });
  Deno.test(`${decode.name}() throws nothing but WireError, whatever the text`, () => {
    const keys = fc.constantFrom(
      ...["config", "leases", "agents", "cursor", "changes", "snapshot", "subnet", "attributes"],
      ...["ttl", "revision", "record", "publicIP", "text", "expected"],
    );
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.dictionary(keys, fc.jsonValue()).map((value) => JSON.stringify(value)),
    );
    fc.assert(fc.property(texts, (text) => {
      try {
        decode(text);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }));
  });
}

undoes(snapshot, encodeSnapshot, decodeSnapshot);
undoes(poll, encodePoll, decodePoll);
undoes(lease, encodeLease, decodeLease);
undoes(agent, encodeAgent, decodeAgent);
undoes(leasePut, encodeLeasePut, decodeLeasePut);
undoes(agentPut, encodeAgentPut, decodeAgentPut);
undoes(configPut, encodeConfigPut, decodeConfigPut);

Deno.test("decodeLeasePut() refuses a lifetime that is none", () => {
  for (const ttl of ["-1", "1.5", '"600"', "null", "1e99"]) {
    const text = `{"attributes":{"PublicIP":"1.2.3.4"},"ttl":${ttl}}`;
    assertThrows(() => decodeLeasePut(text), WireError, "ttl");
  }
});
