import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../../text/testing/character.ts";
import { misspeltKey } from "./hint.ts";

Deno.test("misspeltKey() names the key that was meant, however it is spelt", () => {
  const cases: [string, string | undefined][] = [
    ['{"Netwrok": "10.20.0.0/16"}', '"Netwrok" is no key: did you mean Network?'],
    ['{"SubnetLen": 24, "NETWORKS": "x"}', '"NETWORKS" is no key: did you mean Network?'],
    [
      '{"network": "10.20.0.0/16", "backend": {"Tpye": "vxlan"}}',
      '"Backend.Tpye" is no key: did you mean Backend.Type?',
    ],
    // These have another mistake.
    ['{"network": "10.20.0.0/33"}', undefined],
    ['{"Range": "10.20.0.0/16"}', undefined],
    ['{"Network": "10.20.0.0/16", "Backend": "vxlan"}', undefined],
    ['{"Netwrok": ', undefined],
    ["[]", undefined],
  ];
  for (const [text, wanted] of cases) assertEquals(misspeltKey(text), wanted, text);
});

Deno.test("misspeltKey() answers in one line, whatever it reads", () => {
  const key = fc.oneof(fc.string(), fc.string({ unit: CHARACTER }).map((end) => `Network${end}`));
  const config = fc.dictionary(key, fc.jsonValue()).map((value) => JSON.stringify(value));
  fc.assert(fc.property(fc.oneof(config, fc.string()), (text) => {
    const line = misspeltKey(text);
    return line === undefined || !line.includes("\n");
  }));
});
