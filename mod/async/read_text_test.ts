import { assertEquals, assertRejects } from "@std/assert";
import { readText } from "./read_text.ts";

Deno.test("readText() reads what fits, in pieces that cut characters", async () => {
  const bytes = new TextEncoder().encode("\ufeffäöü€ end");
  const pieces = ReadableStream.from(Array.from(bytes, (byte) => Uint8Array.of(byte)));
  assertEquals(await readText(new Response(pieces), bytes.length), "äöü€ end");
  assertEquals(await readText(new Response(null), 0), "");
});

Deno.test("readText() gives up an answer without an end, and its connection", async () => {
  const ended = Promise.withResolvers<void>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () =>
      new Response(
        new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(10_000)),
          cancel: () => ended.resolve(),
        }),
      ),
  );
  const response = await fetch(`http://127.0.0.1:${server.addr.port}`);
  await assertRejects(() => readText(response, 100_000), Error, "longer than 100000 bytes");
  await ended.promise;
});
