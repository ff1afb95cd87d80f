import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { formatIPv4, parseIPv4, Prefix } from "../ip/mod.ts";
import { decodeNetworkConfig } from "./decode.ts";
import { ConfigError } from "./errors.ts";
import type { NetworkConfig } from "./network_config.ts";

/** The parts of a config that are plain values, as an operator would write them. */
function show(config: NetworkConfig) {
  return {
    Network: config.network.toString(),
    SubnetLen: config.subnetLen,
    SubnetMin: formatIPv4(config.subnetMin),
    SubnetMax: formatIPv4(config.subnetMax),
    Backend: config.backend.type,
  };
}

const decode = async (value: unknown) => show(await decodeNetworkConfig(JSON.stringify(value)));
const messageOf = async (value: unknown) =>
  (await assertRejects(() => decodeNetworkConfig(JSON.stringify(value)), ConfigError)).message;

Deno.test("decodeNetworkConfig() takes the guide's two configs", async () => {
  const expected = {
    Network: "10.20.0.0/16",
    SubnetLen: 24,
    SubnetMin: "10.20.1.0",
    SubnetMax: "10.20.255.0",
  };
  assertEquals(show(await decodeNetworkConfig('{"Network": "10.20.0.0/16"}')), {
    ...expected,
    Backend: "udp",
  });
  const text = '{"Network": "10.20.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}';
  const config = await decodeNetworkConfig(text);
  assertEquals(show(config), { ...expected, Backend: "vxlan" });
  assertStrictEquals(config.text, text);
});

Deno.test("decodeNetworkConfig() passes flannel's own two cases", async () => {
  assertEquals(show(await decodeNetworkConfig('{ "network": "10.3.0.0/16" }')), {
    Network: "10.3.0.0/16",
    SubnetLen: 24,
    SubnetMin: "10.3.1.0",
    SubnetMax: "10.3.255.0",
    Backend: "udp",
  });
  const config = {
    Network: "10.3.0.0/16",
    SubnetMin: "10.3.5.0",
    SubnetMax: "10.3.8.0",
    SubnetLen: 28,
  };
  assertEquals(await decode(config), { ...config, Backend: "udp" });
});

Deno.test("decodeNetworkConfig() takes the example of flannel's documentation", async () => {
  const config = {
    Network: "10.0.0.0/8",
    SubnetLen: 20,
    SubnetMin: "10.10.0.0",
    SubnetMax: "10.99.0.0",
    Backend: { Type: "udp", Port: 7890 },
  };
  const decoded = await decodeNetworkConfig(JSON.stringify(config));
  assertEquals(show(decoded), { ...config, Backend: "udp" });
  assertEquals(decoded.backend.options.int("Port"), 7890);
});

Deno.test("decodeNetworkConfig() masks the host bits of Network", async () => {
  assertEquals((await decode({ Network: "10.1.5.9/16" })).Network, "10.1.0.0/16");
});

Deno.test("decodeNetworkConfig() leases /24s where four fit, else quarters", async () => {
  for (
    const [network, len, min, max] of [
      ["10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0"],
      ["223.0.0.0/8", 24, "223.0.1.0", "223.255.255.0"],
      ["10.1.0.0/22", 24, "10.1.1.0", "10.1.3.0"],
      ["10.1.0.0/23", 25, "10.1.0.128", "10.1.1.128"],
      ["10.1.2.0/24", 26, "10.1.2.64", "10.1.2.192"],
      ["10.1.2.16/28", 30, "10.1.2.20", "10.1.2.28"],
    ] as const
  ) {
    const { SubnetLen, SubnetMin, SubnetMax } = await decode({ Network: network });
    assertEquals([SubnetLen, SubnetMin, SubnetMax], [len, min, max], network);
  }
});

Deno.test("decodeNetworkConfig() takes Go's zero values for absent keys", async () => {
  assertEquals(
    await decode({
      Network: "10.3.0.0/16",
      SubnetLen: 0,
      SubnetMin: "0.0.0.0",
      SubnetMax: "0.0.0.0",
    }),
    await decode({ Network: "10.3.0.0/16" }),
  );
});

Deno.test("decodeNetworkConfig() refuses with flannel's message, the key, the value and a remedy", async () => {
  const Network = "10.1.0.0/16";
  for (
    const [value, message] of [
      [
        {},
        "please define a correct Network parameter in the flannel config: Network is missing; " +
        'write for example {"Network": "10.20.0.0/16"}',
      ],
      [
        { Network: "10.0.0.0/0" },
        "please define a correct Network parameter in the flannel config: " +
        'Network is "10.0.0.0/0", which holds every address there is',
      ],
      [
        { Network: "bad" },
        'Network must be an IPv4 network such as 10.20.0.0/16, not "bad" (invalid CIDR address)',
      ],
      [
        { Network: "fc00::/48" },
        'Network must be an IPv4 network such as 10.20.0.0/16, not the IPv6 network "fc00::/48"',
      ],
      [
        { Network: 10 },
        "Network must be a string, not 10 " +
        "(json: cannot unmarshal number 10 into Go struct field Config.Network of type string)",
      ],
      [
        { Network, SubnetLen: "24" },
        'SubnetLen must be a whole number not below 0, not "24" ' +
        "(json: cannot unmarshal string into Go struct field Config.SubnetLen of type uint)",
      ],
      [
        { Network, SubnetLen: -1 },
        "SubnetLen must be a whole number not below 0, not -1",
      ],
      [
        { Network, SubnetLen: 17 },
        "network must be able to accommodate at least four subnets: SubnetLen 17 " +
        "in Network 10.1.0.0/16; SubnetLen must be from 18 to 30",
      ],
      [
        { Network, SubnetLen: 8 },
        "network must be able to accommodate at least four subnets: SubnetLen 8 " +
        "in Network 10.1.0.0/16; SubnetLen must be from 18 to 30",
      ],
      [
        { Network: "10.1.0.0/29", SubnetLen: 30 },
        "network must be able to accommodate at least four subnets: SubnetLen 30 " +
        "in Network 10.1.0.0/29; Network must be /28 or larger",
      ],
      [
        { Network, SubnetLen: 31 },
        "SubnetLen must be less than /31: SubnetLen is 31; " +
        "a subnet holds at least a host's bridge and a container",
      ],
      [
        { Network: "10.1.0.0/29" },
        "network is too small. Minimum useful network prefix is /28: Network is 10.1.0.0/29",
      ],
      [
        { Network, SubnetMin: "10.2.0.0" },
        "SubnetMin is not in the range of the Network: " +
        "SubnetMin is 10.2.0.0, Network is 10.1.0.0/16",
      ],
      [
        { Network, SubnetMax: "10.0.255.0" },
        "SubnetMax is not in the range of the Network: " +
        "SubnetMax is 10.0.255.0, Network is 10.1.0.0/16",
      ],
      [
        { Network, SubnetMin: "10.1.1.5" },
        "SubnetMin is not on a SubnetLen boundary: 10.1.1.5; " +
        "the /24 around it starts at 10.1.1.0",
      ],
      [
        { Network, SubnetLen: 20, SubnetMax: "10.1.8.0" },
        "SubnetMax is not on a SubnetLen boundary: 10.1.8.0; " +
        "the /20 around it starts at 10.1.0.0",
      ],
      [
        { Network, SubnetMin: "10.1.9.0", SubnetMax: "10.1.8.0" },
        "out of subnets: SubnetMin 10.1.9.0 is above SubnetMax 10.1.8.0; " +
        "SubnetMin must be the lower one",
      ],
      [
        { Network, SubnetMin: "fc00::1" },
        'SubnetMin must be an IPv4 address, not the IPv6 address "fc00::1"',
      ],
      [
        { Network, Backend: "vxlan" },
        'error decoding Backend property of config: Backend must be an object, not "vxlan" ' +
        "(json: cannot unmarshal string into Go struct field Config.Backend of type struct)",
      ],
      [
        { Network, Backend: { Type: 1 } },
        "error decoding Backend property of config: Backend.Type must be a string, not 1 " +
        "(json: cannot unmarshal number 1 into Go struct field .Type of type string)",
      ],
      [
        { Network, Backend: {} },
        "unknown backend type: Backend has no Type; " +
        'write for example "Backend": {"Type": "vxlan"}, or leave Backend out for udp',
      ],
    ] as const
  ) {
    assertEquals(await messageOf(value), message);
  }
});

Deno.test("decodeNetworkConfig() lower-cases Backend.Type", async () => {
  assertEquals(
    (await decode({ Network: "10.1.0.0/16", Backend: { Type: "VXLan" } })).Backend,
    "vxlan",
  );
});

Deno.test("decodeNetworkConfig() refuses what is not there yet in one clear line", async () => {
  const Network = "10.1.0.0/16";
  for (
    const [value, message] of [
      [
        { Network, EnableIPv6: true, IPv6Network: "fc00::/48" },
        'IPv6 is not there yet: EnableIPv6 is true; set "EnableIPv6": false',
      ],
      [
        { Network, IPv6Network: "fc00::/48" },
        "IPv6 is not there yet: the config has IPv6Network; " +
        'take it out, or set "EnableIPv6": false',
      ],
      [
        { Network, ipv6subnetlen: 64 },
        "IPv6 is not there yet: the config has IPv6SubnetLen; " +
        'take it out, or set "EnableIPv6": false',
      ],
      [
        { EnableIPv4: false },
        'EnableIPv4 is false, and IPv6 is not there yet; set "EnableIPv4": true or take it out',
      ],
    ] as const
  ) {
    assertEquals(await messageOf(value), message);
  }
});

Deno.test("decodeNetworkConfig() lets newer flannel's keys pass where they change nothing", async () => {
  assertEquals(
    await decode({
      Network: "10.1.0.0/16",
      EnableIPv4: true,
      EnableIPv6: false,
      IPv6Network: "fc00::/48",
      EnableNFTables: false,
      Unknown: [1, { a: null }],
    }),
    await decode({ Network: "10.1.0.0/16" }),
  );
});

Deno.test("decodeNetworkConfig() reads EnableNFTables, off when absent", async () => {
  const Network = "10.1.0.0/16";
  const enabled = async (config: object) =>
    (await decodeNetworkConfig(JSON.stringify(config))).enableNFTables;
  assertEquals(await enabled({ Network, EnableNFTables: true }), true);
  assertEquals(await enabled({ Network }), false);
  assertEquals(
    await messageOf({ Network, EnableNFTables: "yes" }),
    'EnableNFTables must be true or false, not "yes" ' +
      "(json: cannot unmarshal string into Go struct field Config.EnableNFTables of type bool)",
  );
});

Deno.test("decodeNetworkConfig() gives back every valid config", async () => {
  const configs = fc.record({
    // Neither special addresses nor Go's zero value.
    address: fc.nat(0xffffff).chain((low) =>
      fc.constantFrom(10, 126, 172, 223).map((octet) => octet * 2 ** 24 + low)
    ),
    length: fc.integer({ min: 8, max: 28 }),
  })
    .chain(({ address, length }) => {
      const network = new Prefix(address >>> 0, length);
      return fc.integer({ min: length + 2, max: 30 }).chain((subnetLen) => {
        const step = 2 ** (32 - subnetLen);
        const subnets = 2 ** (subnetLen - length);
        return fc.integer({ min: 0, max: subnets - 1 }).chain((min) =>
          fc.integer({ min, max: subnets - 1 }).map((max) => ({
            Network: network.toString(),
            SubnetLen: subnetLen,
            SubnetMin: formatIPv4(network.address + min * step),
            SubnetMax: formatIPv4(network.address + max * step),
          }))
        );
      });
    });
  await fc.assert(
    fc.asyncProperty(
      configs,
      async (config) => assertEquals(await decode(config), { ...config, Backend: "udp" }),
    ),
  );
});

Deno.test("decodeNetworkConfig() throws nothing but ConfigError, and what it gives is sound", async () => {
  const addresses = fc.tuple(fc.constantFrom("10.1.", "10.", "::"), fc.constantFrom("0.0", "9.16"))
    .map((parts) => parts.join(""));
  const numbers = fc.oneof(fc.integer({ min: -1, max: 34 }), fc.double(), fc.constant("24"));
  const config = fc.record({
    Network: fc.oneof(
      fc.tuple(addresses, fc.nat(33)).map(([address, length]) => `${address}/${length}`),
      fc.anything(),
    ),
    SubnetLen: numbers,
    SubnetMin: fc.oneof(addresses, numbers),
    SubnetMax: fc.oneof(addresses, numbers),
    Backend: fc.oneof(fc.constant({ Type: "vxlan" }), fc.anything()),
    EnableIPv6: fc.oneof(fc.boolean(), fc.constant(null)),
  }, { requiredKeys: [] });
  const texts = fc.oneof(config.map((value) => stringify(value)), fc.json(), fc.string());
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      let config: NetworkConfig;
      try {
        config = await decodeNetworkConfig(text);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        assert(!error.message.includes("\n"), error.message);
        return;
      }
      const { network, subnetLen, subnetMin, subnetMax } = config;
      assert(subnetLen >= network.length + 2 && subnetLen <= 30);
      assert(subnetMin <= subnetMax);
      for (const address of [subnetMin, subnetMax]) {
        const subnet = new Prefix(address, subnetLen);
        assertEquals(subnet.address, address);
        assert(network.containsPrefix(subnet));
      }
      assertEquals(parseIPv4(formatIPv4(subnetMin)), subnetMin);
    }),
    { numRuns: 3000 },
  );
});

/** `JSON.stringify()` for values that hold what JSON has no form for. */
function stringify(value: unknown): string {
  try {
    return JSON.stringify(value, (_, member) => typeof member === "bigint" ? 1 : member) ?? "";
  } catch {
    return "{";
  }
}
