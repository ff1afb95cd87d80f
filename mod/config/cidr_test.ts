import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { readNetwork } from "./cidr.ts";
import { ConfigError } from "./errors.ts";

const messageOf = (text: string) =>
  assertThrows(() => readNetwork("Network", text), ConfigError).message;

Deno.test("readNetwork() masks host bits", () => {
  assertEquals(readNetwork("Network", "10.1.5.9/16").toString(), "10.1.0.0/16");
  assertEquals(readNetwork("Network", "0.0.0.0/0").toString(), "0.0.0.0/0");
  assertEquals(readNetwork("Network", "255.255.255.255/32").toString(), "255.255.255.255/32");
});

Deno.test("readNetwork() tells an IPv6 network from nonsense", () => {
  for (const text of ["fc00::/48", "::/0", "2001:db8::1/128"]) {
    assertEquals(
      messageOf(text),
      `Network must be an IPv4 network such as 10.20.0.0/16, not the IPv6 network "${text}"`,
    );
  }
});

Deno.test("readNetwork() asks for the length that an address lacks", () => {
  assertStringIncludes(messageOf("10.20.0.0"), '"10.20.0.0" lacks its length');
  assertStringIncludes(messageOf("fc00::"), '"fc00::" lacks its length');
});

Deno.test("readNetwork() names key and value of what is no network", () => {
  for (
    const text of ["", "/", "bad", "10.20/16", "10.20.0.0/33", "010.20.0.0/16", "10.20.0.0/-1"]
  ) {
    assertEquals(
      messageOf(text),
      `Network must be an IPv4 network such as 10.20.0.0/16, not "${text}" (invalid CIDR address)`,
    );
  }
  assertStringIncludes(messageOf("x:10.20.0.0/16"), 'not "x:10.20.0.0/16"');
});

Deno.test("readNetwork() takes exactly what Prefix.parse() takes", () => {
  const octet = fc.oneof(fc.nat(260).map(String), fc.constantFrom("", "00", "01", "x", "::"));
  const texts = fc.tuple(fc.array(octet, { minLength: 3, maxLength: 5 }), fc.nat(40))
    .map(([octets, length]) => `${octets.join(".")}/${length}`);
  fc.assert(
    fc.property(fc.oneof(texts, fc.string()), (text) => {
      const expected = Prefix.parse(text)?.toString();
      if (expected === undefined) messageOf(text);
      else assertEquals(readNetwork("Network", text).toString(), expected);
    }),
    { numRuns: 2000 },
  );
});
