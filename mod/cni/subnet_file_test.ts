import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatSubnetEnv } from "../export/subnet_env.ts";
import { Prefix } from "../ip/mod.ts";
import { CniError } from "./errors.ts";
import { maskIPv6Prefix } from "./ipv6_prefix.ts";
import { parseSubnetFile } from "./subnet_file.ts";

Deno.test("parseSubnetFile() reads what the agent writes", () => {
  const prefix = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 8, max: 28 }));
  fc.assert(fc.property(prefix, fc.integer({ min: 68, max: 65535 }), fc.boolean(), (
    [address, length],
    mtu,
    ipMasq,
  ) => {
    const network = new Prefix(address, length);
    const subnet = new Prefix(address, length + 2);
    assertEquals(parseSubnetFile("f", formatSubnetEnv({ network, subnet, mtu, ipMasq })), {
      networks: [String(network)],
      subnets: [String(subnet)],
      ...{ ipv4: subnet, ipv4Networks: [network], mtu, ipMasq },
    });
  }));
});

Deno.test("parseSubnetFile() reads several networks and both families", () => {
  const file = parseSubnetFile(
    "f",
    "FLANNEL_NETWORK=10.20.0.0/16,10.30.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\n" +
      "FLANNEL_IPV6_NETWORK=fd00:42::/48\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\n" +
      "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  );
  assertEquals(file.networks, ["10.20.0.0/16", "10.30.0.0/16", "fd00:42::/48"]);
  assertEquals(file.subnets, ["10.20.93.0/24", "fd00:42:0:1::/64"]);
});

Deno.test("parseSubnetFile() names what is missing or invalid", () => {
  const refused = (text: string) => {
    const { code, message } = assertThrows(() => parseSubnetFile("f", text), CniError);
    return [code, message];
  };
  assertEquals(refused("FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_MTU=1450\n"), [
    ...[11, "f is missing FLANNEL_SUBNET, FLANNEL_IPMASQ"],
  ]);
  const full = "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\n" +
    "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
  for (
    const line of ["FLANNEL_SUBNET=10.20.93.1", "FLANNEL_MTU=x", "FLANNEL_IPMASQ=maybe"]
  ) {
    const [name, value] = line.split("=");
    assertEquals(refused(`${full}${line}\n`), [11, `f has an invalid ${name}: "${value}"`]);
  }
});

Deno.test("maskIPv6Prefix() writes prefixes as Go does", () => {
  const cases = [
    ["fd00:42:0:1::1/64", "fd00:42:0:1::/64"],
    ["FD00:42:0:0:1:0:0:5/80", "fd00:42:0:0:1::/80"],
    ["::/0", "::/0"],
    ["2001:db8::ff/121", "2001:db8::80/121"],
  ] as const;
  for (const [text, masked] of cases) assertEquals(maskIPv6Prefix(text), masked);
  for (const text of ["", "fd00::", "fd00::/129", "10.0.0.0/8", "x/1", "fd00::1::/64"]) {
    assertEquals(maskIPv6Prefix(text), undefined, text);
  }
});

Deno.test("maskIPv6Prefix() clears the host bits and no others", () => {
  const address = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
  const text = (value: bigint) => value.toString(16).padStart(32, "0").match(/.{4}/g)!.join(":");
  fc.assert(fc.property(address, fc.nat(128), (value, length) => {
    const shift = BigInt(128 - length);
    const masked = (value >> shift) << shift;
    const expected = maskIPv6Prefix(`${text(masked)}/128`)!.replace(/128$/, String(length));
    assertEquals(maskIPv6Prefix(`${text(value)}/${length}`), expected);
  }));
});
