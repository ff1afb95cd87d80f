import { assert, assertEquals, assertRejects } from "@std/assert";
import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import { StoreUnavailableError } from "../errors.ts";
import { RemoteHttp } from "./http.ts";

Deno.test("RemoteHttp asks for TLS only as long as the server has not answered", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response("x"),
  );
  // Without a server behind it, it accepts a connection and closes it.
  await using proxy = new TcpProxy(`http://127.0.0.1:${server.addr.port}`);
  const open = () =>
    new RemoteHttp(
      { kind: "remote", servers: [proxy.address] },
      { tls: {} },
      "/x",
    );
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
