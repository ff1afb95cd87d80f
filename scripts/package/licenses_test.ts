import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { projectRoot } from "../checks/module_graph.ts";
import { cratesOf, thirdPartyLicenses } from "./licenses.ts";

Deno.test("cratesOf() finds the crates that the paths of an executable name, each once", () => {
  const text =
    "\0/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde_json-1.0.140/src/de.rs" +
    "attempt to add/x/index.crates.io-6f17d22bba15001f/hickory-proto-0.25.0-alpha.4/src/op.rs\n" +
    "index.crates.io-6f17d22bba15001f/x509-parser-0.15.1/a.rs" +
    "index.crates.io-6f17d22bba15001f/ash-0.38.0+1.3.281/a.rs" +
    "index.crates.io-6f17d22bba15001f/x509-parser-0.15.1/b.rs";
  assertEquals(cratesOf(text), [
    { name: "ash", version: "0.38.0+1.3.281" },
    { name: "hickory-proto", version: "0.25.0-alpha.4" },
    { name: "serde_json", version: "1.0.140" },
    { name: "x509-parser", version: "0.15.1" },
  ]);
});

Deno.test("thirdPartyLicenses() has the text of each license once, and names the parts without a text", async () => {
  const part = (name: string, ...texts: string[]) => ({
    name,
    version: "1.0.0",
    license: "MIT",
    texts,
  });
  const text = await thirdPartyLicenses(projectRoot(), {
    packages: [part("one", "Shared text.\n"), part("two", "Shared text.\n"), part("bare")],
    runtime: "2.4.2",
    crates: [{ name: "url", version: "2.5.4" }],
  });
  assertEquals(text.split("Shared text.").length, 2);
  assertStringIncludes(text, "one 1.0.0: MIT\ntwo 1.0.0: MIT\n");
  assertStringIncludes(text, "come without its text:\n\n  bare 1.0.0: MIT\n");
  assertStringIncludes(text, "  url 2.5.4\n");
  for (
    const [part, words] of [
      ["Deno: MIT", "the Deno authors"],
      ["V8: BSD-3-Clause", "the V8 project authors"],
      ["ICU, of V8: Unicode-3.0", "UNICODE LICENSE V3"],
      ["Node.js, whose modules Deno adapts: MIT", "Copyright Joyent, Inc."],
    ] as const
  ) {
    const at = text.indexOf(`\n${part}\n`);
    assert(at > 0 && text.indexOf(words, at) > at, part);
  }
});

Deno.test("thirdPartyLicenses() has the copyright files of bundled libraries, where their source is, and the licenses they name", async () => {
  const text = await thirdPartyLicenses(projectRoot(), {
    packages: [],
    runtime: "2.4.2",
    crates: [],
    libc: {
      packages: [{
        ...{ name: "libc6", version: "2.41-12+deb13u4", license: "LGPL-2.1-or-later" },
        ...{ source: "glibc", sourceVersion: "2.41-12+deb13u4", copyright: "The GNU C Library" },
      }],
      libraries: [],
      licenses: new Map([["LGPL-2.1", "Lesser General Public License"]]),
    },
  });
  const parts = [
    "package libc6 2.41-12+deb13u4: LGPL-2.1-or-later\n",
    "https://snapshot.debian.org/package/glibc/2.41-12%2Bdeb13u4/\n",
    "\n\nThe GNU C Library\n",
    "\nLGPL-2.1, of the libraries above\n",
    "\n\nLesser General Public License\n",
  ];
  const positions = parts.map((part) => text.indexOf(part));
  assertEquals(positions, positions.toSorted((a, b) => a - b));
  assert(positions[0]! > 0, text.slice(-500));
});
