import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../ip/mod.ts";
import { DockerPluginError } from "../errors.ts";
import { formatNetworkAddress, type JsonObject, parseBody, parseNetworkAddress } from "./fields.ts";
import { formatPoolId, parsePoolId, readAddressRequest, readPoolRequest } from "./ipam.ts";
import { readEndpoint, readNewEndpoint, readNewNetwork, requireNoPorts } from "./network.ts";

const ID = "2c8d9a1f0b".repeat(6) + "0123";

/** As Docker 28 sends it for `docker network create -d flannel --ipam-driver flannel`. */
const NEW_NETWORK = {
  NetworkID: ID,
  Options: {
    "com.docker.network.enable_ipv4": true,
    "com.docker.network.enable_ipv6": false,
    "com.docker.network.generic": {},
  },
  IPv4Data: [{ AddressSpace: "flannel", Gateway: "10.20.5.1/24", Pool: "10.20.5.0/24" }],
  IPv6Data: [],
};

/** As Docker 26 and 28 send it. */
const NEW_ENDPOINT = {
  ...{ NetworkID: ID, EndpointID: ID },
  Interface: { Address: "10.20.5.3/24", AddressIPv6: "", MacAddress: "" },
  Options: { "com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": [] },
};

const data = (change: object) => ({
  ...NEW_NETWORK,
  IPv4Data: [{ ...NEW_NETWORK.IPv4Data[0], ...change }],
});

Deno.test("readNewNetwork() reads what Docker sends", () => {
  const { networkId, pool } = readNewNetwork(NEW_NETWORK);
  assertEquals([networkId, String(pool)], [ID, "10.20.5.0/24"]);
});

Deno.test("readNewEndpoint() reads what Docker sends", () => {
  const { pool, ...endpoint } = readNewEndpoint(NEW_ENDPOINT);
  assertEquals(endpoint, { networkId: ID, endpointId: ID, address: 0x0a140503, mac: "" });
  assertEquals(String(pool), "10.20.5.0/24");
});

/** Requests for what the plugin does not have, and the words of each refusal. */
const REFUSED: readonly (readonly [string, () => unknown, string])[] = [
  [
    "an internal network",
    () =>
      readNewNetwork({
        ...NEW_NETWORK,
        Options: { "com.docker.network.internal": true },
      }),
    "leave --internal out",
  ],
  [
    "an option",
    () =>
      readNewNetwork({
        ...NEW_NETWORK,
        Options: { "com.docker.network.generic": { mtu: "1400" } },
      }),
    'flannel networks have no option "mtu"',
  ],
  ["IPv6", () => readNewNetwork({ ...NEW_NETWORK, IPv6Data: [{}] }), "leave --ipv6 out"],
  ["two subnets", () => readNewNetwork({ ...NEW_NETWORK, IPv4Data: [{}, {}] }), "one IPv4 subnet"],
  ["no subnet", () => readNewNetwork({ ...NEW_NETWORK, IPv4Data: [] }), "one IPv4 subnet"],
  [
    "an auxiliary address",
    () => readNewNetwork(data({ AuxAddresses: { a: "10.20.5.9/24" } })),
    "no --aux-address",
  ],
  [
    "another gateway",
    () => readNewNetwork(data({ Gateway: "10.20.5.254/24" })),
    "the gateway of 10.20.5.0/24 is 10.20.5.1, not 10.20.5.254: leave --gateway out",
  ],
  [
    "published ports",
    () =>
      requireNoPorts({ Options: { "com.docker.network.portmap": [{ Port: 80, HostPort: 8080 }] } }),
    "publish no ports (80)",
  ],
  ["an IPv6 pool", () => readPoolRequest({ V6: true }), "leave --ipv6 out"],
  ["an IP range", () => readPoolRequest({ SubPool: "10.20.5.128/25" }), "no --ip-range"],
  ["an IPAM option", () => readPoolRequest({ Options: { net: "x" } }), 'unknown --ipam-opt "net"'],
  ["a bad subnet", () => readPoolRequest({ Pool: "10.20.5.0" }), "is not an IPv4 subnet"],
  ["a foreign pool", () => readAddressRequest({ PoolID: "LocalDefault/x" }), "is not a pool"],
  ["no id", () => readEndpoint({ NetworkID: ID }), 'EndpointID is ""'],
  ["no body", () => parseBody(""), "the call has no body; try again"],
];

for (const [what, read, words] of REFUSED) {
  Deno.test(`the protocol refuses ${what} by one line`, () => {
    const { message } = assertThrows(read, DockerPluginError, words);
    assertEquals(message.includes("\n"), false);
  });
}

const prefixes = fc.tuple(fc.nat(2 ** 32 - 1), fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => ({ address, pool: new Prefix(address, length) }));

Deno.test("parsePoolId() reads what formatPoolId() writes", () => {
  const ids = fc.oneof(
    fc.record({ network: fc.string() }),
    prefixes.map(({ pool }) => ({ part: pool })),
  );
  fc.assert(fc.property(ids, (id) => assertEquals(parsePoolId(formatPoolId(id)), id)));
});

Deno.test("parseNetworkAddress() reads what formatNetworkAddress() writes", () => {
  fc.assert(fc.property(prefixes, (one) => {
    assertEquals(parseNetworkAddress(formatNetworkAddress(one)), one);
  }));
});

Deno.test("the readers of calls throw their own error whatever the body", () => {
  const names = [
    ...[
      "NetworkID",
      "EndpointID",
      "Options",
      "IPv4Data",
      "IPv6Data",
      "Interface",
      "Pool",
      "Gateway",
    ],
    ...["PoolID", "Address", "SubPool", "V6", "MacAddress", "com.docker.network.generic"],
    "com.docker.network.portmap",
  ];
  const { tree } = fc.letrec<{ tree: unknown; object: JsonObject }>((tie) => ({
    tree: fc.oneof(
      { depthSize: "small" },
      ...[fc.constantFrom(ID, "10.20.5.0/24", "10.20.5.1", "lease:", "", null), fc.jsonValue()],
      ...[tie("object"), fc.array(tie("tree"), { maxLength: 2 })],
    ),
    object: fc.dictionary(fc.constantFrom(...names), tie("tree"), { noNullPrototype: true }),
  }));
  const readers = [
    readNewNetwork,
    readNewEndpoint,
    readPoolRequest,
    readAddressRequest,
    requireNoPorts,
  ];
  fc.assert(fc.property(fc.constantFrom(...readers), tree, (read, value) => {
    try {
      read(parseBody(JSON.stringify(value)));
    } catch (error) {
      if (!(error instanceof DockerPluginError)) throw error;
    }
  }));
});
