import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseInput, readConfig } from "./config.ts";
import { CniError, encodeError } from "./errors.ts";
import { encodeSorted } from "./json.ts";
import { COMMANDS, encodeVersions } from "./version.ts";

const MINIMAL = { cniVersion: "1.1.0", name: "cbr0", type: "flannel" };

Deno.test("readConfig() has the defaults of upstream's plugin", () => {
  const { subnetFile, dataDir, delegate, ipam } = readConfig(MINIMAL, "ADD");
  assertEquals(
    [subnetFile, dataDir, delegate, ipam],
    ["/run/flannel/subnet.env", "/var/lib/cni/flannel", {}, {}],
  );
});

Deno.test("readConfig() takes null for a member that is missing, as Go does", () => {
  assertEquals(
    readConfig({ ...MINIMAL, delegate: null, ipam: null, runtimeConfig: null }, "ADD"),
    readConfig(MINIMAL, "ADD"),
  );
});

Deno.test("readConfig() refuses GC without the list of what to keep", () => {
  const attachments = "cni.dev/valid-attachments";
  for (const list of [undefined, null, {}, [{ containerID: "c1" }], ["c1"]]) {
    const input = { ...MINIMAL, ...list === undefined ? {} : { [attachments]: list } };
    assertEquals(assertThrows(() => readConfig(input, "GC"), CniError).code, 7);
  }
  const kept = { containerID: "c1", ifname: "eth0" };
  assertEquals(readConfig({ ...MINIMAL, [attachments]: [kept] }, "GC").validAttachments, [kept]);
});

Deno.test("parseInput() and readConfig() accept any JSON or throw a CniError", () => {
  const keys = ["cniVersion", "name", "subnetFile", "dataDir", "delegate", "ipam", "prevResult"];
  const member = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("1.1.0", "cbr0", "/x", "relative"),
    fc.constant({}),
  );
  const input = fc.oneof(
    fc.string(),
    fc.json(),
    fc.dictionary(fc.constantFrom(...keys), member).map((value) => JSON.stringify(value)),
  );
  fc.assert(fc.property(input, fc.constantFrom(...COMMANDS), (text, command) => {
    try {
      readConfig(parseInput(text), command);
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      const object = JSON.parse(encodeError(error, "1.1.0"));
      assertEquals([typeof object.code, typeof object.msg], ["number", "string"]);
    }
  }));
});

Deno.test("encodeSorted() sorts members at every depth by bytes, and escapes as Go does", () => {
  assertEquals(
    encodeSorted({ b: [{ d: 1, c: "<&>" }], a: null, B: true }),
    '{"B":true,"a":null,"b":[{"c":"\\u003c\\u0026\\u003e","d":1}]}',
  );
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    assertEquals(JSON.parse(encodeSorted(value as never)), JSON.parse(JSON.stringify(value)));
  }));
});

Deno.test("encodeVersions() answers with the version of the request, or the newest", () => {
  assertEquals(JSON.parse(encodeVersions("0.3.1")).cniVersion, "0.3.1");
  assertEquals(JSON.parse(encodeVersions("2.0.0")).cniVersion, "1.1.0");
});
