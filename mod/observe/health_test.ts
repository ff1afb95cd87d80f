import { assertEquals, assertThrows } from "@std/assert";
import { HealthError, serveHealth } from "./health.ts";
import { textResponse } from "./pages.ts";

Deno.test("serveHealth() serves pages on loopback to whoever asks for this host", async () => {
  const abort = new AbortController();
  const options = {
    ip: "127.0.0.1",
    port: 0,
    pages: { "/healthz": () => textResponse("flanneld is running") },
    signal: abort.signal,
  };
  const port = serveHealth(options);
  const get = async (name: string) => {
    // fetch() would not send another name than the one it connects to.
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const request = `GET /healthz HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(request));
    return (await new Response(connection.readable).text()).split(/ |\r\n/)[1];
  };
  assertEquals(await get(`127.0.0.1:${port}`), "200");
  assertEquals(await get(`localhost:${port}`), "200");
  assertEquals(await get("rebound.example.com"), "421");
  for (const name of ["[", "a b", "localhost:99999"]) assertEquals(await get(name), "400", name);
  assertThrows(() => serveHealth({ ...options, port }), HealthError, `127.0.0.1:${port}`);
  abort.abort();
});
