import { assert, assertRejects } from "@std/assert";
import { ProviderError } from "./errors.ts";
import { fetchAnswer } from "./fetch_answer.ts";

Deno.test("fetchAnswer() names the call and the cause, and not the URL, which may hold a token", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const request = { what: "get x", timeoutMs: 10_000, signal: new AbortController().signal };
  const { message, kind } = await assertRejects(
    () => fetchAnswer(`http://127.0.0.1:${port}/?secret`, request),
    ProviderError,
  );
  assert(/^get x: .*refused/i.test(message), message);
  assert(!message.includes("secret"), message);
  assert(kind === "unavailable");
});
