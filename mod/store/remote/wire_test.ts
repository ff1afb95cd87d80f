import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { KvChange, KvEntry } from "../kv/kv.ts";
import {
  decodeEntry,
  decodeListing,
  decodePoll,
  decodePut,
  encodeEntry,
  encodeListing,
  encodePoll,
  encodePut,
  type PollAnswer,
  requireVersion,
  VERSION_BODY,
  type WireListing,
  type WirePut,
} from "./wire.ts";
import { WireError } from "./wire_error.ts";

const entry: fc.Arbitrary<KvEntry> = fc.record({
  ...{ key: fc.string(), value: fc.string({ unit: "grapheme" }), revision: fc.string() },
  ttl: fc.nat(86400),
}, { requiredKeys: ["key", "value", "revision"] });
const change: fc.Arbitrary<KvChange> = fc.oneof(
  fc.record({ type: fc.constant("put" as const), entry }),
  fc.record({ type: fc.constant("delete" as const), key: fc.string(), missing: fc.string() }),
);
const listing: fc.Arbitrary<WireListing> = fc.record({
  entries: fc.array(entry),
  cursor: fc.string(),
  missing: fc.string(),
  leaseForm: fc.constantFrom("v0.7" as const, "v0.20" as const),
});
const poll: fc.Arbitrary<PollAnswer> = fc.oneof(
  fc.record({ changes: fc.array(change), cursor: fc.string() }),
  fc.record({ reason: fc.string(), listing }),
);
const put: fc.Arbitrary<WirePut> = fc.record({
  ...{ value: fc.string(), ttl: fc.nat(86400) },
  expect: fc.oneof(
    fc.constantFrom("absent" as const, "any" as const),
    fc.record({ revision: fc.string() }),
  ),
});

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
      ...["entries", "cursor", "changes", "listing", "key", "value", "missing", "reason"],
      ...["ttl", "revision", "expect", "leaseForm"],
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

undoes(entry, encodeEntry, decodeEntry);
undoes(listing, encodeListing, decodeListing);
undoes(poll, encodePoll, decodePoll);
undoes(put, encodePut, decodePut);

Deno.test("decodePut() refuses a lifetime that is none", () => {
  for (const ttl of ["-1", "1.5", '"600"', "null", "1e99"]) {
    assertThrows(() => decodePut(`{"value":"","expect":"any","ttl":${ttl}}`), WireError, "ttl is");
  }
});

Deno.test("requireVersion() refuses another version than that of VERSION_BODY", () => {
  requireVersion(VERSION_BODY);
  assertThrows(() => requireVersion('{"version":1}\n'), WireError, "version is 1, not 3");
});
