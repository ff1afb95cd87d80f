import { assertEquals } from "@std/assert";
import { defaultSocketPath } from "./status_socket.ts";

Deno.test("defaultSocketPath() lies beside the subnet file, one for each", () => {
  const cases = {
    "/run/flannel/subnet.env": "/run/flannel/flanneld.sock",
    "/run/flannel/blue.env": "/run/flannel/blue.sock",
    "/run/blue/subnet.env": "/run/blue/flanneld.sock",
    "subnet.env": "flanneld.sock",
    "/blue": "/blue.sock",
    "/.env": "/flanneld.sock",
  };
  for (const [file, socket] of Object.entries(cases)) assertEquals(defaultSocketPath(file), socket);
});
