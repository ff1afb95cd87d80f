import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";
import { isPrivateRange, requireContainerRange } from "./range.ts";

const parse = (text: string) => Prefix.parse(text)!;

Deno.test("requireContainerRange() refuses what is too large or has a meaning of its own", () => {
  const cases = [
    ["0.0.0.0/1", /^Network 0\.0\.0\.0\/1 is larger than a \/8: /],
    ["10.0.0.0/7", /is larger than a \/8/],
    ["0.16.0.0/12", /meets 0\.0\.0\.0\/8, which is for addresses of no host/],
    ["127.0.0.0/8", /meets 127\.0\.0\.0\/8, which is every host's loopback/],
    ["127.20.0.0/16", /meets 127\.0\.0\.0\/8/],
    ["169.0.0.0/8", /meets 169\.254\.0\.0\/16, which is link-local/],
    ["224.0.0.0/8", /meets 224\.0\.0\.0\/4, which is multicast/],
    ["250.1.0.0/16", /meets 240\.0\.0\.0\/4, which is reserved/],
  ] as const;
  for (const [network, message] of cases) {
    const error = assertThrows(() => requireContainerRange(parse(network)), ConfigError);
    assertEquals(message.test(error.message), true, error.message);
  }
  for (const network of ["10.0.0.0/8", "8.0.0.0/8", "172.28.0.0/16", "198.51.100.0/24"]) {
    requireContainerRange(parse(network));
  }
});

Deno.test("requireContainerRange() lets no network pass that holds a special address", () => {
  const anyNetwork = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 1, max: 28 }))
    .map(([address, length]) => new Prefix(address, length));
  const special = ["0.0.0.1", "127.0.0.1", "169.254.169.254", "224.0.0.251", "255.255.255.255"]
    .map((text) => parse(`${text}/32`).address);
  fc.assert(fc.property(anyNetwork, (network) => {
    const holds = special.some((address) => network.contains(address));
    let passes = true;
    try {
      requireContainerRange(network);
    } catch {
      passes = false;
    }
    if (holds || network.length < 8) assertEquals(passes, false, `${network}`);
    if (passes && isPrivateRange(network)) {
      assertEquals([10, 172, 192, 100].includes(network.address >>> 24), true);
    }
  }));
});

Deno.test("isPrivateRange() knows RFC 1918 and RFC 6598", () => {
  for (
    const text of [
      "10.0.0.0/8",
      "172.16.0.0/12",
      "172.31.0.0/16",
      "192.168.7.0/24",
      "100.127.0.0/16",
    ]
  ) {
    assertEquals(isPrivateRange(parse(text)), true, text);
  }
  for (
    const text of ["8.0.0.0/8", "172.0.0.0/8", "172.32.0.0/16", "100.128.0.0/16", "192.0.0.0/8"]
  ) {
    assertEquals(isPrivateRange(parse(text)), false, text);
  }
});
