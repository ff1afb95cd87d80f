import { assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../errors.ts";
import { run } from "./status.ts";

const { signal } = new AbortController();

Deno.test("run() of status refuses a number of peers that is none, before it asks the agent", async () => {
  for (const text of ["-1", "x", "", "1.5", "ALL"]) {
    const error = await assertRejects(
      () => run([`-peers=${text}`, "-status-socket=none"], signal, []),
      UsageError,
    );
    assertEquals(
      error.message,
      `invalid value "${text}" for flag -peers: expected a whole number, or all`,
    );
    assertEquals(error.exitCode, 2);
  }
});
