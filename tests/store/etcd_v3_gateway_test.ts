import { assert, assertEquals, assertRejects } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { StoreError, StoreUnavailableError } from "../../mod/store/errors.ts";
import { EtcdHttp } from "../../mod/store/etcd/http.ts";
import {
  EtcdV3Gateway,
  GatewayAbsentError,
  GatewayUnusableError,
} from "../../mod/store/etcd/v3/gateway.ts";

const KEY = "/flannel/network/config";
const USER = { username: "root", password: "S3cret/+ é" };

/** A web server on a free port. */
function serve(handler: Deno.ServeHandler): AsyncDisposable & { readonly endpoint: string } {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** A real etcd with its gateway where, and with errors as, an older version has them. */
function older(etcd: EtcdServer, root: string): ReturnType<typeof serve> {
  return serve(async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/v3") && !pathname.startsWith(`${root}/`)) {
      return new Response("404 page not found\n", { status: 404 });
    }
    const token = request.headers.get("authorization");
    const answer = await etcd.fetch(pathname.replace(root, "/v3"), {
      method: request.method,
      ...(request.body === null ? {} : { body: await request.text() }),
      ...(token === null ? {} : { headers: { authorization: token } }),
    });
    const text = (await answer.text()).replace('"message":', '"error":');
    return new Response(text, { status: answer.status });
  });
}

function open(
  endpoint: string,
  user: { username?: string; password?: string } = {},
): EtcdV3Gateway & Disposable {
  const http = new EtcdHttp({ endpoints: [endpoint], ...user }, {});
  return Object.assign(new EtcdV3Gateway(http), {
    [Symbol.dispose]: () => http[Symbol.dispose](),
  });
}

Deno.test("EtcdV3Gateway.range() reads what is stored, byte for byte", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const operator = new EtcdGateway(etcd);
  using gateway = open(etcd.endpoint);
  assertEquals(await gateway.range({ key: KEY }), []);
  const value = ' {"Network": "10.20.0.0/16", "x": "é🙂"}\n';
  await operator.put(KEY, value);
  await operator.put(`${KEY}/empty`, "");
  assertEquals(await gateway.range({ key: KEY }), [{ key: KEY, value }]);
  assertEquals(
    await gateway.range({ key: "/flannel/network/", rangeEnd: "/flannel/network0" }),
    [{ key: KEY, value }, { key: `${KEY}/empty`, value: "" }],
  );
  assertEquals((await gateway.range({ key: "/", rangeEnd: "0", limit: 1 })).length, 1);
});

Deno.test("EtcdV3Gateway.range() finds the gateway of older versions", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await new EtcdGateway(etcd).put(KEY, "{}");
  for (const root of ["/v3beta", "/v3alpha"]) {
    await using server = older(etcd, root);
    using gateway = open(server.endpoint);
    assertEquals(await gateway.range({ key: KEY }), [{ key: KEY, value: "{}" }]);
    using user = open(server.endpoint, USER);
    assertEquals((await user.range({ key: KEY })).length, 1, "a user where there are none");
  }
});

Deno.test("EtcdV3Gateway.range() shows its token, and says what refusals mean", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await new EtcdGateway(etcd).put(KEY, "{}");
  await etcd.enableAuth("v3", USER.password);
  await using server = older(etcd, "/v3beta");
  for (const endpoint of [etcd.endpoint, server.endpoint]) {
    using gateway = open(endpoint, USER);
    assertEquals((await gateway.range({ key: KEY })).length, 1);
    const { host } = new URL(endpoint);
    using named = open(
      `http://${USER.username}:${encodeURIComponent(USER.password)}@${host}`,
    );
    assertEquals((await named.range({ key: KEY })).length, 1);
    using nobody = open(endpoint);
    await assertRejects(() => nobody.range({ key: KEY }), StoreError, "asks for a user");
    using wrong = open(endpoint, { username: "root", password: "Wr0ng" });
    const error = await assertRejects(
      () => wrong.range({ key: KEY }),
      StoreError,
      'refuses user "root"',
    );
    assert(!Deno.inspect(error, { depth: 9 }).includes("Wr0ng"));
  }
});

Deno.test("EtcdV3Gateway.range() distinguishes a missing gateway from one that refuses to serve", async () => {
  const answers = [
    [404, "404 page not found", GatewayAbsentError],
    [200, "<html>welcome</html>", GatewayUnusableError],
    [400, "CommonName of client sending a request against gateway", GatewayUnusableError],
    [503, "", StoreUnavailableError],
  ] as const;
  for (const [status, text, kind] of answers) {
    await using server = serve(({ url }) =>
      url.endsWith("/version") ? new Response("{}") : new Response(text, { status })
    );
    using gateway = open(server.endpoint);
    await assertRejects(() => gateway.range({ key: KEY }), kind);
  }
});
