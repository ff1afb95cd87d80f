import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { dockerOptions } from "./docker_opts.ts";
import { parseDotenv } from "./dotenv.ts";
import { ExportError } from "./errors.ts";

// The outputs themselves are in testing/docker_opts_cases.ts, which mod/cli/commands/docker_opts_test.ts runs.

Deno.test("dockerOptions() writes what a reader of environment files reads back", () => {
  const name = fc.stringMatching(/^DOCKER_OPT_[A-Z]{1,3}$/);
  const value = fc.string().filter((text) => !text.includes("\r"));
  fc.assert(fc.property(fc.dictionary(name, value), (environment) => {
    const text = dockerOptions(new Map(Object.entries(environment)), {
      individual: true,
      combined: true,
      key: "ALL",
      ipMasq: true,
    });
    const sorted = Object.entries(environment).sort(([a], [b]) => a < b ? -1 : 1);
    assertEquals([...parseDotenv(text)], [
      ...sorted,
      ["ALL", sorted.map(([, value]) => ` ${value}`).join("")],
    ]);
  }));
});

Deno.test("dockerOptions() refuses a FLANNEL_IPMASQ that is no boolean, naming it", () => {
  const request = { individual: true, combined: true, key: "DOCKER_OPTS", ipMasq: true };
  for (const value of ["maybe", "True", "1"]) {
    const error = assertThrows(
      () => dockerOptions(new Map([["FLANNEL_IPMASQ", value]]), request),
      ExportError,
    );
    assertEquals(
      error.message,
      `Invalid value of FLANNEL_IPMASQ: ${value} (expected true or false)`,
    );
  }
});
