import { assert } from "@std/assert";
import { fetchReason } from "./fetch_reason.ts";

Deno.test("fetchReason() names the cause and not the URL, which may hold a token", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const error = await fetch(`http://127.0.0.1:${port}/?secret`).catch((error) => error);
  const reason = fetchReason(error);
  assert(/refused/i.test(reason), reason);
  assert(!reason.includes("secret"), reason);
});
