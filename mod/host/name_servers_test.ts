import { assertEquals } from "@std/assert";
import { formatIPv4 } from "../ip/mod.ts";
import { nameServers } from "./name_servers.ts";

async function serversOf(files: Readonly<Record<string, string>>): Promise<string[]> {
  const root = await Deno.makeTempDir();
  try {
    for (const [file, text] of Object.entries(files)) {
      await Deno.mkdir(`${root}${file}`.replace(/\/[^/]+$/, ""), { recursive: true });
      await Deno.writeTextFile(root + file, text);
    }
    return nameServers(root).map(formatIPv4);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const CONF = "/etc/resolv.conf";

Deno.test("nameServers() reads IPv4 name servers, and nothing else", async () => {
  const text = "# nameserver 192.0.2.9\nsearch example\n nameserver 192.0.2.1\n" +
    "nameserver\t192.0.2.2 # second\nnameserver ::1\nnameserver x\noptions ndots:1\n";
  assertEquals(await serversOf({ [CONF]: text }), ["192.0.2.1", "192.0.2.2"]);
  assertEquals(await serversOf({}), []);
});

Deno.test("nameServers() returns the servers behind systemd-resolved's stub", async () => {
  const stub = { [CONF]: "nameserver 127.0.0.53\n" };
  assertEquals(await serversOf(stub), []);
  const behind = { ...stub, "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.3\n" };
  assertEquals(await serversOf(behind), ["192.0.2.3"]);
});
