import { assertEquals, assertFalse, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseIPv4 } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";
import { GoObject } from "./go_json.ts";

const messageOf = (fn: () => unknown) => assertThrows(fn, ConfigError).message;

Deno.test("GoObject matches keys without regard to case", () => {
  const object = GoObject.parse('{"network": "a", "SUBNETLEN": 24, "directROUTING": true}');
  assertEquals(object.string("Network"), "a");
  assertEquals(object.int("SubnetLen"), 24);
  assertEquals(object.bool("DirectRouting"), true);
});

Deno.test("GoObject takes the last of duplicates, however they are spelled", () => {
  assertEquals(GoObject.parse('{"VNI": 1, "vni": 2, "VNI": 3}').int("VNI"), 3);
  assertEquals(GoObject.parse('{"VNI": 1, "vni": 2}').int("VNI"), 2);
  assertEquals(GoObject.parse('{"vni": 2, "VNI": 1}').int("VNI"), 1);
});

Deno.test("GoObject takes null for absent, and a null duplicate changes nothing", () => {
  const object = GoObject.parse('{"VNI": null, "Port": 7, "port": null}');
  assertEquals(object.int("VNI"), undefined);
  assertFalse(object.has("VNI"));
  assertEquals(object.int("Port"), 7);
  assertEquals(object.keys(), ["Port"]);
});

Deno.test("GoObject.empty() and a null text have no members", () => {
  for (const object of [GoObject.empty(), GoObject.parse("null"), GoObject.parse("{}")]) {
    assertEquals(object.keys(), []);
    assertEquals(object.int("VNI"), undefined);
    assertEquals(object.bool("GBP"), undefined);
    assertEquals(object.string("Type"), undefined);
    assertEquals(object.ip("SubnetMin"), undefined);
    assertEquals(object.object("Backend"), undefined);
  }
});

Deno.test("GoObject.keys() gives unknown keys as they were written", () => {
  assertEquals(GoObject.parse('{"SubnetLenn": 1, "__proto__": 2}').keys(), [
    "SubnetLenn",
    "__proto__",
  ]);
});

Deno.test("GoObject.int() refuses what Go does not take for an integer", () => {
  for (
    const [json, found, go] of [
      ['"5"', '"5"', "string"],
      ["1.5", "1.5", "number 1.5"],
      ["1e3", "1e3", "number 1e3"],
      ["true", "true", "bool"],
      ["{}", "an object", "object"],
      ["[1]", "an array", "array"],
    ]
  ) {
    assertEquals(
      messageOf(() =>
        GoObject.parse(`{"Backend": {"vni": ${json}}}`).object("Backend")!.int("VNI")
      ),
      `Backend.VNI must be a whole number, not ${found} ` +
        `(json: cannot unmarshal ${go} into Go struct field .VNI of type int)`,
    );
  }
});

Deno.test("GoObject.int() holds the bounds and names them", () => {
  const object = GoObject.parse('{"Port": 70000, "MTU": -1, "Big": 99999999999999999999, "Z": -0}');
  assertEquals(
    messageOf(() => object.int("Port", { min: 0, max: 65535 })),
    "Port must be a whole number from 0 to 65535, not 70000",
  );
  assertEquals(object.int("Port", { min: 70000, max: 70000 }), 70000);
  assertEquals(
    messageOf(() => object.int("MTU", { min: 0 })),
    "MTU must be a whole number not below 0, not -1",
  );
  assertEquals(
    messageOf(() => object.int("Big")),
    "Big must be a whole number, not 99999999999999999999",
  );
  assertEquals(object.int("Z"), 0);
});

Deno.test("GoObject.bool() refuses strings and numbers", () => {
  const object = GoObject.parse('{"GBP": "true", "Learning": 1}');
  assertEquals(
    messageOf(() => object.bool("GBP")),
    'GBP must be true or false, not "true" ' +
      "(json: cannot unmarshal string into Go struct field Config.GBP of type bool)",
  );
  assertStringIncludes(messageOf(() => object.bool("Learning")), "not 1 (json: cannot");
});

Deno.test("GoObject.ip() distinguishes IPv6 addresses from other texts", () => {
  const object = GoObject.parse('{"a": "10.3.5.0", "b": "fc00::1", "c": "10.3.5", "d": 10}');
  assertEquals(object.ip("a"), parseIPv4("10.3.5.0"));
  assertEquals(
    messageOf(() => object.ip("b")),
    'b must be an IPv4 address, not the IPv6 address "fc00::1"',
  );
  assertEquals(
    messageOf(() => object.ip("c")),
    'c must be an IPv4 address such as 10.20.0.0, not "10.3.5" (Invalid IP address format)',
  );
  assertStringIncludes(messageOf(() => object.ip("d")), "d must be an IPv4 address in quotes");
});

Deno.test("GoObject never shows a secret", () => {
  const object = GoObject.parse('{"PSK": 12345, "AccessKeySecret": ["hidden"]}');
  for (const key of ["PSK", "AccessKeySecret"]) {
    const message = messageOf(() => object.string(key));
    assertStringIncludes(message, `${key} must be a string, not a`);
    assertFalse(/12345|hidden/.test(message), message);
  }
});

Deno.test("GoObject.parse() names the position of a syntax error without quoting the text", () => {
  assertEquals(
    messageOf(() => GoObject.parse('{"Network": nobody}')),
    "the network config is not JSON: invalid character 'o' in literal null (expecting 'u') " +
      "at line 1, column 14, in the value of Network",
  );
  assertEquals(
    messageOf(() => GoObject.parse('{\n  "Backend": {\n    "PSK": "swordfish" x\n')),
    "the network config is not JSON: invalid character 'x' after object key:value pair " +
      "at line 3, column 24, in the value of Backend.PSK",
  );
});

Deno.test("GoObject.parse() recognizes quotes that a shell has removed", () => {
  assertStringIncludes(
    messageOf(() => GoObject.parse("{Network: 10.20.0.0/16}")),
    "keys stand in double quotes, and a shell keeps those only inside single quotes",
  );
});

Deno.test("GoObject.parse() reports an empty text", () => {
  assertEquals(
    messageOf(() => GoObject.parse(" \n")),
    "the network config is empty (unexpected end of JSON input); " +
      'write for example {"Network": "10.20.0.0/16"}',
  );
});

Deno.test("GoObject.parse() wants an object", () => {
  assertEquals(
    messageOf(() => GoObject.parse('"10.20.0.0/16"')),
    'the network config must be a JSON object such as {"Network": "10.20.0.0/16"}, ' +
      'not "10.20.0.0/16" (json: cannot unmarshal string into Go value of type subnet.Config)',
  );
});

Deno.test("GoObject messages stay one short line", () => {
  const object = GoObject.parse(JSON.stringify({ a: "x\n".repeat(10_000) }));
  for (const getter of ["int", "bool", "ip", "object"] as const) {
    const message = messageOf(() => object[getter]("a"));
    assertFalse(message.includes("\n"));
    assertEquals(message.length < 300, true, message);
  }
});

Deno.test("GoObject getters throw nothing but ConfigError, whatever the value", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const object = GoObject.parse(JSON.stringify({ key: value }));
      for (const getter of ["int", "bool", "string", "ip", "object"] as const) {
        try {
          object[getter]("KEY");
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
        }
      }
    }),
  );
});
