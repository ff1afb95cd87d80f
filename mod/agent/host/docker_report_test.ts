import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { askDocker, reportDocker } from "./docker_report.ts";

const { signal } = new AbortController();

/** Serves bodies by path on a unix socket while `action` runs. */
async function withServer(
  bodies: Readonly<Record<string, string>>,
  action: (socket: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/docker.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const serving = (async () => {
    for await (const connection of listener) {
      const bytes = new Uint8Array(4096);
      const length = await connection.read(bytes) ?? 0;
      const target = new TextDecoder().decode(bytes.subarray(0, length)).split(" ")[1]!;
      const body = bodies[target] ?? "{}";
      const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      await connection.write(new TextEncoder().encode(answer));
      connection.close();
    }
  })();
  try {
    await action(path);
  } finally {
    listener.close();
    await serving;
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("askDocker() reads version and firewall backend", async () => {
  const bodies = {
    "/version": '{"Version":"29.1.0","ApiVersion":"1.52"}',
    "/info": '{"FirewallBackend":{"Driver":"nftables"}}',
  };
  await withServer(bodies, async (socket) => {
    assertEquals(await askDocker(signal, socket), {
      version: "29.1.0",
      firewallBackend: "nftables",
    });
  });
});

Deno.test("askDocker() takes an older Docker's answer, and none for no Docker", async () => {
  await withServer({ "/version": '{"Version":"26.1.5"}' }, async (socket) => {
    assertEquals(await askDocker(signal, socket), { version: "26.1.5" });
  });
  await withServer({ "/version": "not json" }, async (socket) => {
    assertEquals(await askDocker(signal, socket), undefined);
  });
  await withServer({ "/version": '{"Version":7}' }, async (socket) => {
    assertEquals(await askDocker(signal, socket), undefined);
  });
  assertEquals(await askDocker(signal, "/nonexistent/docker.sock"), undefined);
});

Deno.test("reportDocker() logs a Docker once", async () => {
  using log = captureLog();
  await withServer({ "/version": '{"Version":"27.0.1"}' }, async (socket) => {
    await reportDocker(signal, socket);
    await reportDocker(signal, socket);
  });
  await reportDocker(signal, "/nonexistent/docker.sock");
  assertEquals(log.lines, ["I docker 27.0.1 found, firewall backend not reported"]);
});
