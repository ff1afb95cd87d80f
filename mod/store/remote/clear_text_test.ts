import { assertEquals } from "@std/assert";
import { clearTextServers } from "./clear_text.ts";

Deno.test("clearTextServers() names servers that are not on loopback, with a token and without TLS", () => {
  const away = ["192.0.2.1:8888", "host1:8888", "[2001:db8::1]:8888"];
  const servers = ["127.0.0.1:8888", "localhost:8888", "[::1]:8888", ...away];
  assertEquals(clearTextServers({ servers }), []);
  const tokenFile = "token";
  assertEquals(clearTextServers({ servers, tokenFile }), away);
  assertEquals(clearTextServers({ servers, tokenFile, caFile: "ca" }), []);
  assertEquals(clearTextServers({ servers, tokenFile, certFile: "c", keyFile: "k" }), []);
});
