import { assert, assertEquals, assertThrows } from "@std/assert";
import { HEALTH_LIMITS, HealthError, serveHealth } from "./health.ts";
import { textResponse } from "./serve/pages.ts";

Deno.test("serveHealth() serves pages to requests for this host, and health to all", async () => {
  const abort = new AbortController();
  const options = {
    ip: "127.0.0.1",
    port: 0,
    pages: {
      "/healthz": () => textResponse("flanneld is running"),
      "/status": () => textResponse("{}"),
    },
    hostNames: new Set(["localhost", "host1", "host1.example.com"]),
    signal: abort.signal,
  };
  const port = serveHealth(options);
  const get = async (name: string | undefined, path = "/status") => {
    // fetch() would not send another name than the one it connects to.
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const request = name === undefined
      ? `GET ${path} HTTP/1.0\r\n\r\n`
      : `GET ${path} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(request));
    return (await new Response(connection.readable).text()).split(/ |\r\n/)[1];
  };
  assertEquals(await get(`127.0.0.1:${port}`), "200");
  assertEquals(await get(`localhost:${port}`), "200");
  assertEquals(await get("HOST1.example.com.:8286"), "200");
  assertEquals(await get("[2001:db8::1]:8286"), "200");
  assertEquals(await get(undefined), "200");
  assertEquals(await get("rebound.example.com"), "421");
  assertEquals(await get("rebound.example.com", "/healthz"), "200");
  for (const name of ["[", "a b", "localhost:99999"]) assertEquals(await get(name), "400", name);
  assertThrows(() => serveHealth({ ...options, port }), HealthError, `127.0.0.1:${port}`);
  abort.abort();
});

Deno.test("serveHealth() has so many connections at a time, and answers again when some are closed", async () => {
  const abort = new AbortController();
  const pages = { "/healthz": () => textResponse("flanneld is running") };
  const port = serveHealth({
    ip: "127.0.0.1",
    port: 0,
    pages,
    hostNames: new Set(),
    signal: abort.signal,
  });
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port });
  const ask = async (connection: Deno.TcpConn) => {
    const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    await connection.write(new TextEncoder().encode(request)).catch(() => {});
    const buffer = new Uint8Array(1_000);
    const count = await connection.read(buffer).catch(() => null);
    return new TextDecoder().decode(buffer.subarray(0, count ?? 0)).split(" ")[1];
  };
  const { connectionsPerAddress: most } = HEALTH_LIMITS;
  const open = await Promise.all(Array.from({ length: most }, connect));
  for (const connection of open) assertEquals(await ask(connection), "200");
  using extra = await connect();
  // A reset may be quicker than the answer.
  assert([undefined, "503"].includes(await ask(extra)));
  for (const connection of open) connection.close();
  let answered;
  for (const until = Date.now() + 60_000; answered !== "200" && Date.now() < until;) {
    using again = await connect();
    answered = await ask(again);
  }
  assertEquals(answered, "200");
  abort.abort();
});
