import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { libc } from "../../sys/mod.ts";
import { askRaw } from "../../server/testing/raw_http.ts";
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

Deno.test("startServer() asks for the token that its file holds at present", async () => {
  const directory = await Deno.makeTempDir({ prefix: "serve-" });
  const tokenFile = `${directory}/token`;
  const write = async (token: string) => {
    await Deno.writeTextFile(`${tokenFile}.new`, token, { mode: 0o600 });
    await Deno.rename(`${tokenFile}.new`, tokenFile);
  };
  const [former, latter] = ["former-token-of-16", "latter-token-of-16"];
  const stop = new AbortController();
  try {
    await write(former);
    const { port } = freeAddress();
    const { done } = await startServer({
      store: { kind: "embedded", path: `${directory}/leases.db` },
      listen: { address: { hostname: "127.0.0.1", port }, tokenFile },
      signal: stop.signal,
      notify: false,
    });
    const status = async (token: string) =>
      (await askRaw(port, "GET", "/v1/_/store/version", undefined, {
        Authorization: `Bearer ${token}`,
      })).status;
    assertEquals(await status(former), 200);
    await write(latter);
    while (await status(former) === 200) await new Promise((r) => setTimeout(r, 50));
    assertEquals([await status(former), await status(latter)], [401, 200]);
    stop.abort();
    await done;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

function freeAddress(): Deno.NetAddr {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr;
}
