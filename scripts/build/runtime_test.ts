import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { answers, chooseRuntime, elfSize, sha256 } from "./runtime.ts";

/** Serves on a free port of the loopback while `test` runs. */
async function withServer(
  handler: Deno.ServeHandler,
  test: (url: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  try {
    await test(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

Deno.test("answers() is true for success alone", async () => {
  const handler = ({ method, url }: Request) =>
    new Response(null, { status: method === "HEAD" && url.endsWith("/there") ? 200 : 404 });
  await withServer(handler, async (url) => {
    assertEquals(await answers(`${url}/there`), true);
    assertEquals(await answers(`${url}/elsewhere`), false);
  });
});

Deno.test("answers() gives up on a network that swallows the request", async () => {
  const { promise: end, resolve } = Promise.withResolvers<void>();
  await withServer(() => end.then(() => new Response()), async (url) => {
    const start = performance.now();
    assertEquals(await answers(url, 100), false);
    assertEquals(performance.now() - start < 60_000, true);
    resolve();
  });
});

Deno.test("answers() is false where nothing listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  assertEquals(await answers(`http://127.0.0.1:${port}/`), false);
});

Deno.test("chooseRuntime() takes the Deno at hand where its denort can be had", async () => {
  await withServer(() => new Response(), async (releases) => {
    assertEquals(await chooseRuntime({ source: "auto", cache: "/nonexistent", releases }), {
      source: "download",
      deno: Deno.execPath(),
      version: Deno.version.deno,
    });
  });
});

Deno.test("chooseRuntime() takes the denort that DENORT_BIN names, and misses it", async () => {
  const before = Deno.env.get("DENORT_BIN");
  try {
    Deno.env.set("DENORT_BIN", "/opt/denort");
    const { source, denort } = await chooseRuntime({ cache: "/nonexistent" });
    assertEquals([source, denort], ["denort-bin", "/opt/denort"]);
    Deno.env.delete("DENORT_BIN");
    await assertRejects(
      () => chooseRuntime({ source: "denort-bin", cache: "/nonexistent" }),
      Error,
      "DENORT_BIN is not set",
    );
  } finally {
    if (before !== undefined) Deno.env.set("DENORT_BIN", before);
  }
});

Deno.test("elfSize() ends with the section header table, whatever is appended", () => {
  const image = new Uint8Array(64 + 3 * 64);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  const view = new DataView(image.buffer);
  view.setBigUint64(40, 64n, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 3, true);
  assertEquals(elfSize(image), 256);
  const longer = new Uint8Array(1000);
  longer.set(image);
  assertEquals(elfSize(longer), 256);
  assertThrows(() => elfSize(image.subarray(0, 200)), Error, "cut off at 200 of 256");
});

Deno.test("elfSize() knows where a real image ends", () => {
  const sh = Deno.readFileSync("/bin/sh");
  const longer = new Uint8Array(sh.length + 5000);
  longer.set(sh);
  assertEquals(elfSize(longer), elfSize(sh));
  assertEquals(elfSize(sh) <= sh.length, true);
});

Deno.test("elfSize() refuses what is no 64-bit image", () => {
  for (const bytes of [new Uint8Array(0), new Uint8Array(64), new TextEncoder().encode("#!/bin")]) {
    assertThrows(() => elfSize(bytes), Error, "not a 64-bit ELF image");
  }
});

Deno.test("sha256() gives the digest of FIPS 180's example", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "abc");
    assertEquals(
      await sha256(path),
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
  } finally {
    await Deno.remove(path);
  }
});
