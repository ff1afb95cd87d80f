import { assertEquals } from "@std/assert";
import {
  decodeEntry,
  decodeListing,
  decodePoll,
  decodePut,
  encodeEntry,
  encodeListing,
  encodePoll,
  encodePut,
} from "../../../mod/store/remote/wire.ts";
import { WireError } from "../../../mod/store/remote/wire_error.ts";
import { jsonNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";
import { LEASE_VALUES, NODE_RECORDS } from "./lease_values.ts";

/** A pair that undoes each other. */
interface Codec {
  readonly decode: (text: string) => unknown;
  readonly encode: (value: never) => string;
}

/** Checks that decoding, encoding and decoding again gives the same value. */
function roundTrip({ decode, encode }: Codec, text: string): void {
  const read = refusing([WireError], () => decode(text));
  if (read === undefined) return;
  assertEquals(decode(encode(read as never)), read);
}

const ENTRIES = [
  { key: "config", value: '{"Network":"10.20.0.0/16"}', revision: "6", ttl: 0 },
  { key: "subnets/10.20.93.0-24", value: LEASE_VALUES[0], revision: "7", ttl: 86400 },
  { key: "agents/192.0.2.7", value: NODE_RECORDS[0], revision: "8" },
].map((entry) => JSON.stringify(entry));

/** Messages between `-listen` and `-remote`. */
export const STORE_MESSAGES = [
  `{"entries":[${ENTRIES}],"cursor":"12","missing":"none","leaseForm":"v0.7"}`,
  `{"changes":[${ENTRIES},{"key":"config","missing":"no config"}],"cursor":"12"}`,
  `{"reason":"lost","listing":{"entries":[],"cursor":"12","missing":"none","leaseForm":"v0.20"}}`,
  ...ENTRIES,
  '{"value":"{}","ttl":86400,"expect":{"revision":"7"}}',
  '{"value":"{}","ttl":0,"expect":"absent"}',
] as const;

const STORE: readonly Codec[] = [
  { decode: decodeListing, encode: encodeListing },
  { decode: decodePoll, encode: encodePoll },
  { decode: decodeEntry, encode: encodeEntry },
  { decode: decodePut, encode: encodePut },
];

export const storeMessage: FuzzTarget<string> = {
  name: "store_message",
  seeds: STORE_MESSAGES,
  inputs: jsonNear(STORE_MESSAGES, [
    ...["entries", "changes", "cursor", "key", "value", "revision", "ttl", "missing", "expect"],
  ]),
  start: () => (text) => {
    for (const codec of STORE) roundTrip(codec, text);
  },
};
