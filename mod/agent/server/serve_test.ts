import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { libc } from "../../sys/mod.ts";
import { startServer } from "./serve.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

Deno.test("startServer() warns of a token without TLS, unless it listens on loopback", async () => {
  const directory = await Deno.makeTempDir({ prefix: "serve-" });
  try {
    const tokenFile = `${directory}/token`;
    await Deno.writeTextFile(tokenFile, "0123456789abcdef", { mode: 0o600 });
    const warnings = async (hostname: string) => {
      using log = captureLog();
      const stop = new AbortController();
      const { done } = await startServer({
        store: { kind: "embedded", path: `${directory}/leases.db` },
        listen: { address: { hostname, port: 0 }, tokenFile },
        signal: stop.signal,
        notify: false,
      });
      stop.abort();
      await done;
      return log.lines.filter((line) => line.startsWith("W"));
    };
    assertEquals(await warnings("127.0.0.1"), []);
    assertEquals(await warnings("0.0.0.0"), [
      "W -listen: without TLS everybody on the path can read the token; give -remote-certfile and " +
      "-remote-keyfile on the server; give -remote-cafile on each client",
    ]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
