import { assert, assertEquals, assertRejects } from "@std/assert";
import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import { StoreUnavailableError } from "../errors.ts";
import { readRemoteCredentials, RemoteHttp } from "./http.ts";

Deno.test("RemoteHttp asks for TLS only as long as the server has not answered", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response("x"),
  );
  // Without a server behind it, it accepts a connection and closes it.
  await using proxy = new TcpProxy(`http://127.0.0.1:${server.addr.port}`);
  const files = await readRemoteCredentials({});
  const open = () => new RemoteHttp({ kind: "remote", servers: [proxy.address] }, files, "/x");
  const ask = (http: RemoteHttp) => http.request({ method: "GET", path: "/x" });
  const failure = async (http: RemoteHttp) =>
    (await assertRejects(() => ask(http), StoreUnavailableError)).message;
  using http = open();
  assertEquals((await ask(http)).status, 200);
  await server.shutdown();
  const text = await failure(http);
  assert(!text.includes("cafile"), text);
  using stranger = open();
  assert((await failure(stranger)).includes("if it has TLS, give -remote-cafile"));
});

Deno.test("RemoteHttp sends the token that its file holds at present, and leaves requests under way alone", async () => {
  const tokenFile = await Deno.makeTempFile({ prefix: "token-" });
  const write = async (token: string) => {
    await Deno.writeTextFile(`${tokenFile}.new`, token, { mode: 0o600 });
    await Deno.rename(`${tokenFile}.new`, tokenFile);
  };
  const held = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    if (request.url.endsWith("/held")) {
      isHeld.resolve();
      await held.promise;
    }
    return new Response(request.headers.get("authorization"));
  });
  const [former, latter] = ["former-token-of-16", "latter-token-of-16"];
  try {
    await write(former);
    const options = { servers: [`127.0.0.1:${server.addr.port}`], tokenFile };
    const files = await readRemoteCredentials(options);
    using http = new RemoteHttp({ kind: "remote", ...options }, files, "/x");
    const ask = async (path: string) => (await http.request({ method: "GET", path })).text;
    assertEquals(await ask("/x"), `Bearer ${former}`);
    const under = ask("/held");
    await isHeld.promise;
    await write(latter);
    while (await ask("/x") !== `Bearer ${latter}`) await new Promise((r) => setTimeout(r, 50));
    held.resolve();
    assertEquals(await under, `Bearer ${former}`);
  } finally {
    await server.shutdown();
    await Deno.remove(tokenFile);
  }
});
