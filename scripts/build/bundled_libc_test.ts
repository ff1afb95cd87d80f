import { assertEquals, assertRejects } from "@std/assert";
import { bundleLibc } from "./bundled_libc.ts";

Deno.test("bundleLibc() refuses an executable that deno compile has not written", async () => {
  const output = await Deno.makeTempDir();
  try {
    const { message } = await assertRejects(() => bundleLibc("/usr/bin/true", output), Error);
    assertEquals(
      message,
      "/usr/bin/true does not end in the payload of deno compile (Deno 2.4)",
    );
  } finally {
    await Deno.remove(output, { recursive: true });
  }
});
