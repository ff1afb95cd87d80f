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
import {
  decodeLeaseWatch,
  decodeNetworkWatch,
  decodeReservation,
  decodeWireAttributes,
  decodeWireLease,
  encodeLeaseWatch,
  encodeNetworkWatch,
  encodeReservation,
  encodeWireLease,
  parseExpiration,
} from "../../../mod/store/remote/flannel/protocol.ts";
import { jsonNear, textNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";
import { LEASE_VALUES, NODE_RECORDS } from "./lease_values.ts";

const LEASE =
  '{"Subnet":"10.20.93.0/24","Attrs":{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":{"VtepMAC":"a2:3f:60:cf:ae:07"}},"Expiration":"2026-11-29T10:00:00.123Z"}';

/** Messages of flannel 0.7.1's protocol. */
export const WIRE_MESSAGES = [
  LEASE,
  `{"events":[{"type":"added","lease":${LEASE}},{"type":"removed","lease":${LEASE}}],"snapshot":null,"cursor":"12"}`,
  `{"events":null,"snapshot":[${LEASE}],"cursor":"12"}`,
  '{"events":[{"type":"added","lease":{"Subnet":"0.0.0.0/0","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"},"network":"blue"}],"snapshot":null,"cursor":"3"}',
  '{"events":null,"snapshot":["blue","red"],"cursor":"3"}',
  '{"Subnet":"10.20.93.0/24","PublicIP":"192.0.2.7"}',
  '{"PublicIP":"192.0.2.7","BackendType":"udp"}',
] as const;

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

const WIRE: readonly Codec[] = [
  { decode: decodeWireLease, encode: encodeWireLease },
  { decode: (text) => decodeLeaseWatch(text), encode: encodeLeaseWatch },
  { decode: decodeNetworkWatch, encode: encodeNetworkWatch },
  { decode: decodeReservation, encode: encodeReservation },
];

export const wireMessage: FuzzTarget<string> = {
  name: "wire_message",
  seeds: [
    ...WIRE_MESSAGES,
    WIRE_MESSAGES[0].replace("vxlan", "\\ud800"),
    WIRE_MESSAGES[4].replace("blue", "\\udfff"),
  ],
  inputs: jsonNear(WIRE_MESSAGES, [
    "events",
    "snapshot",
    "cursor",
    "Subnet",
    "Attrs",
    "Expiration",
  ]),
  start: () => (text) => {
    for (const codec of WIRE) roundTrip(codec, text);
    refusing([WireError], () => decodeWireAttributes(text));
  },
};

const TIMES = ["2026-11-29T10:00:00.123Z", "0001-01-01T00:00:00Z", "2026-02-29T24:00:00+23:59"];

export const expiration: FuzzTarget<string> = {
  name: "expiration",
  seeds: TIMES,
  inputs: textNear(TIMES, ["T", "Z", "+00:00", "-99:99", ".999999999"]),
  start: () => (text) => {
    refusing([WireError], () => parseExpiration(text));
  },
};

const ENTRIES = [
  { key: "config", value: '{"Network":"10.20.0.0/16"}', revision: "6", ttl: 0 },
  { key: "subnets/10.20.93.0-24", value: LEASE_VALUES[0], revision: "7", ttl: 86400 },
  { key: "agents/192.0.2.7", value: NODE_RECORDS[0], revision: "8" },
].map((entry) => JSON.stringify(entry));

/** Messages below `/store`, of a server for agents of this project. */
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
