import { assertEquals, assertThrows } from "@std/assert";
import { HealthError, serveHealth } from "./health.ts";

Deno.test("serveHealth() tells running from ready", async () => {
  const abort = new AbortController();
  let ready = false;
  const options = { ip: "127.0.0.1", port: 0, isReady: () => ready, signal: abort.signal };
  const port = serveHealth(options);
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return `${response.status} ${(await response.text()).trim()}`;
  };
  assertEquals(await get("/healthz"), "200 flanneld is running");
  assertEquals(await get("/readyz"), "503 flanneld is not ready yet");
  ready = true;
  assertEquals(await get("/readyz"), "200 flanneld is ready");
  assertEquals((await get("/")).slice(0, 3), "404");
  assertThrows(() => serveHealth({ ...options, port }), HealthError, `127.0.0.1:${port}`);
  abort.abort();
});
