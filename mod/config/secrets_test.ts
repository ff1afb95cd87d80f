import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../text/testing/character.ts";
import { fastest } from "../sys/testing/fastest.ts";
import { hideSecrets, hideUrlPasswords, isSecretKey } from "./secrets.ts";

Deno.test("isSecretKey() knows the keys that backends keep secrets under", () => {
  for (
    const key of [
      "PSK",
      "Password",
      "AccessKeyID",
      "AccessKeySecret",
      "access_key",
      "PrivateKey",
      "Token",
    ]
  ) assert(isSecretKey(key), key);
  for (
    const key of ["Network", "SubnetLen", "Type", "Port", "RouteTableID", "DirectRouting", "VNI"]
  ) {
    assert(!isSecretKey(key), key);
  }
});

Deno.test("hideSecrets() shows all of a config but its secrets", () => {
  assertEquals(
    hideSecrets(
      '{"Network": "10.0.0.0/8", "Backend": {"Type": "ali-vpc", "AccessKeyID": "LTAI", ' +
        '"accesskeysecret": {"a": ["x"]}, "Proxy": "http://joe:pa:ss@w@proxy:3128/a@b"}}',
    ),
    '{"Network":"10.0.0.0/8","Backend":{"Type":"ali-vpc","AccessKeyID":"(not shown)",' +
      '"accesskeysecret":"(not shown)","Proxy":"http://joe:(not shown)@proxy:3128/a@b"}}',
  );
  const plain = '{ "Network": "10.0.0.0/8",\n "Backend": {"Type": "udp"} }';
  assertEquals(hideSecrets(plain), plain);
  assertEquals(hideSecrets('{"PSK": "x"'), "(11 characters that are no JSON)");
  assertEquals(hideSecrets('{"a":'.repeat(50_000)), "(250000 characters that are no JSON)");
});

Deno.test("hideSecrets() never shows a secret, wherever it is", () => {
  const secret = "s3cr3t-V4lue";
  const leaf = fc.constant({ AccessKeySecret: secret, Url: `https://u:${secret}@host/` });
  const nested = fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie("node"), { maxLength: 3 }),
      fc.dictionary(fc.string({ unit: CHARACTER }), tie("node"), { maxKeys: 3 }),
    ),
  })).node;
  fc.assert(fc.property(nested, fc.constantFrom(0, 2), fc.nat(20), (value, indent, cut) => {
    const text = JSON.stringify(value, undefined, indent);
    assert(!hideSecrets(text).includes(secret));
    assert(!hideSecrets(text.slice(0, -cut || undefined)).includes(secret));
  }));
});

Deno.test("hideUrlPasswords() takes time in proportion to the text", () => {
  const time = (length: number) => {
    const hostile = ["a", "a:", "://", "a://", "a://:", "a://a:"].map((part) =>
      part.repeat(Math.floor(length / part.length))
    );
    return fastest(10, () => {
      for (const text of hostile) hideUrlPasswords(text);
    });
  };
  const [short, long] = [1 << 14, 1 << 18].map(time);
  // 16 times the text; the square would be 256 times the time.
  assert(long! < 64 * Math.max(short!, 1), `${short} ${long}`);
});
