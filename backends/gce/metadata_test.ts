import { assertEquals, assertRejects } from "@std/assert";
import { serve } from "../../tests/cloud/serve.ts";
import { ProviderError } from "../provider/errors.ts";
import { GceMetadata } from "./metadata.ts";

const { signal } = new AbortController();

Deno.test("GceMetadata.accessToken() says in a line that the answer is no token", async () => {
  let text = "";
  const server = serve(() => new Response(text));
  try {
    const metadata = new GceMetadata({
      host: `127.0.0.1:${server.addr.port}`,
      timeoutMs: 60_000,
    });
    const refusal = async (answer: string) => {
      text = answer;
      return (await assertRejects(() => metadata.accessToken(signal), ProviderError)).message;
    };
    for (const answer of ["null", "1", '"ya29"', "[]", "{}"]) {
      assertEquals(await refusal(answer), "the metadata server's token is not complete");
    }
    assertEquals(await refusal("<html>"), "the metadata server's token is not JSON");
    text = '{"access_token":"ya29","expires_in":3599}';
    assertEquals(await metadata.accessToken(signal), "ya29");
  } finally {
    await server.shutdown();
  }
});
