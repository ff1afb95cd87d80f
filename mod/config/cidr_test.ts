import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../ip/mod.ts";
import { readNetwork } from "./cidr.ts";
import { ConfigError } from "./errors.ts";

const messageOf = async (text: string) =>
  (await assertRejects(() => readNetwork("Network", text), ConfigError)).message;

Deno.test("readNetwork() masks host bits", async () => {
  assertEquals((await readNetwork("Network", "10.1.5.9/16")).toString(), "10.1.0.0/16");
  assertEquals((await readNetwork("Network", "0.0.0.0/0")).toString(), "0.0.0.0/0");
  assertEquals(
    (await readNetwork("Network", "255.255.255.255/32")).toString(),
    "255.255.255.255/32",
  );
});

Deno.test("readNetwork() distinguishes an IPv6 network from other texts", async () => {
  for (const text of ["fc00::/48", "::/0", "2001:db8::1/128"]) {
    assertEquals(
      await messageOf(text),
      `Network must be an IPv4 network such as 10.20.0.0/16, not the IPv6 network "${text}"`,
    );
  }
});

Deno.test("readNetwork() asks for the length that an address lacks", async () => {
  assertStringIncludes(await messageOf("10.20.0.0"), '"10.20.0.0" lacks its length');
  assertStringIncludes(await messageOf("fc00::"), '"fc00::" lacks its length');
});

Deno.test("readNetwork() names key and value of what is no network", async () => {
  for (
    const text of ["", "/", "bad", "10.20/16", "10.20.0.0/33", "010.20.0.0/16", "10.20.0.0/-1"]
  ) {
    assertEquals(
      await messageOf(text),
      `Network must be an IPv4 network such as 10.20.0.0/16, not "${text}" (invalid CIDR address)`,
    );
  }
  assertStringIncludes(await messageOf("x:10.20.0.0/16"), 'not "x:10.20.0.0/16"');
});

Deno.test("readNetwork() takes exactly what Prefix.parse() takes", async () => {
  const octet = fc.oneof(fc.nat(260).map(String), fc.constantFrom("", "00", "01", "x", "::"));
  const texts = fc.tuple(fc.array(octet, { minLength: 3, maxLength: 5 }), fc.nat(40))
    .map(([octets, length]) => `${octets.join(".")}/${length}`);
  await fc.assert(
    fc.asyncProperty(fc.oneof(texts, fc.string()), async (text) => {
      const expected = Prefix.parse(text)?.toString();
      if (expected === undefined) await messageOf(text);
      else assertEquals((await readNetwork("Network", text)).toString(), expected);
    }),
    { numRuns: 2000 },
  );
});
