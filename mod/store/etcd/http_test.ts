import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { freePort } from "../../../tests/lab/etcd/etcd.ts";
import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import { ConfigError } from "../../config/errors.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import { displayEndpoints, type HttpEndpoint } from "./endpoints.ts";
import { errorText, EtcdHttp } from "./http.ts";

const SIGNAL = new AbortController().signal;

/** A member that answers its version, and to anything else as given. */
function member(
  handler: (request: Request) => Response | Promise<Response>,
): AsyncDisposable & { readonly url: string } {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) =>
      new URL(request.url).pathname === "/version" ? new Response("{}") : handler(request),
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function get(http: EtcdHttp, authorize?: (endpoint: HttpEndpoint) => string): Promise<string> {
  return http.atSomeEndpoint(undefined, async (endpoint) => {
    const response = await http.fetch(endpoint, {
      method: "GET",
      path: "/x",
      ...(authorize === undefined ? {} : { authorize }),
    }, SIGNAL);
    return await response.text();
  });
}

Deno.test("EtcdHttp goes from member to member, and stays with one that serves", async () => {
  let served = 0;
  await using good = member(() => new Response(`${++served}`));
  await using bad = member(() => new Response("down", { status: 503 }));
  const endpoints = [bad.url, `http://127.0.0.1:${freePort()}`, bad.url, good.url];
  using http = new EtcdHttp({ endpoints }, {});
  for (let i = 1; i <= 5; i++) assertEquals(await get(http), `${i}`);
});

Deno.test("EtcdHttp names every member that failed", async () => {
  await using raft = member(() =>
    Response.json(
      { errorCode: 300, message: "Raft Internal Error", cause: "timed out", index: 7 },
      { status: 500 },
    )
  );
  await using page = member(() => new Response("<html>", { status: 502 }));
  const nobody = `http://127.0.0.1:${freePort()}`;
  using http = new EtcdHttp({ endpoints: [raft.url, page.url, nobody] }, {});
  const { message } = await assertRejects(() => get(http), StoreUnavailableError);
  for (
    const text of [
      "client: etcd cluster is unavailable or misconfigured; error #0: ",
      "; error #2: ",
      `client: etcd member ${raft.url} has no leader (300: Raft Internal Error (timed out) [7])`,
      `client: etcd member ${page.url} returns server error [502 Bad Gateway]`,
      `${nobody}: `,
    ]
  ) assert(message.includes(text), message);
});

Deno.test("EtcdHttp doubts the scheme of a member only as long as it has not answered", async () => {
  const server = member(() => new Response("x"));
  // Without a server behind it, it accepts a connection and closes it.
  await using proxy = new TcpProxy(server.url);
  const endpoints = [`http://${proxy.address}`];
  using http = new EtcdHttp({ endpoints }, {});
  assertEquals(await get(http), "x");
  await server[Symbol.asyncDispose]();
  const failure = async (http: EtcdHttp) =>
    (await assertRejects(() => get(http), StoreUnavailableError)).message;
  for (let i = 0; i < 2; i++) {
    const text = await failure(http);
    assert(!text.includes("https"), text);
  }
  using stranger = new EtcdHttp({ endpoints }, {});
  assert((await failure(stranger)).includes("is it https:// ?"));
});

Deno.test("EtcdHttp takes a StoreError for an answer, and asks nobody else", async () => {
  let served = 0;
  await using one = member(() => new Response(`${++served}`));
  await using two = member(() => new Response(`${++served}`));
  using http = new EtcdHttp({ endpoints: [one.url, two.url] }, {});
  await assertRejects(
    () =>
      http.atSomeEndpoint(undefined, async (endpoint) => {
        await (await http.fetch(endpoint, { method: "GET", path: "/x" }, SIGNAL)).text();
        throw new StoreError("refused");
      }),
    StoreError,
    "refused",
  );
  assertEquals(served, 1);
});

Deno.test("EtcdHttp shows credentials to configured members only, wherever redirected", async () => {
  const seen: (string | null)[] = [];
  await using stranger = member((request) => {
    seen.push(request.headers.get("authorization"));
    return new Response("stranger");
  });
  await using second = member((request) => {
    seen.push(request.headers.get("authorization"));
    return Response.redirect(`${stranger.url}/x`);
  });
  await using first = member((request) => {
    seen.push(request.headers.get("authorization"));
    return Response.redirect(`${second.url}/x`);
  });
  using http = new EtcdHttp({ endpoints: [first.url], username: "root", password: "secret" }, {});
  assertEquals(await get(http, ({ user }) => `mine ${user!.name}`), "stranger");
  assertEquals(seen, ["mine root", null, null]);
});

Deno.test("EtcdHttp sends a secret body to configured members only, wherever redirected", async () => {
  let revealed = 0;
  await using elsewhere = member(() => new Response(`${++revealed}`));
  await using redirecting = member(() =>
    new Response(null, { status: 307, headers: { location: elsewhere.url } })
  );
  const post = async (endpoints: string[]) => {
    using http = new EtcdHttp({ endpoints }, {});
    return await http.atSomeEndpoint(undefined, async (endpoint) => {
      const request = { method: "POST", path: "/x", body: "password", isSecret: true } as const;
      return await (await http.fetch(endpoint, request, SIGNAL)).text();
    });
  };
  await assertRejects(() => post([redirecting.url]), StoreUnavailableError, "none of -etcd-end");
  assertEquals(revealed, 0);
  assertEquals(await post([redirecting.url, elsewhere.url]), "1");
});

Deno.test("EtcdHttp gives up on redirects that go in a circle", async () => {
  await using circle = member(({ url }) => Response.redirect(url));
  using http = new EtcdHttp({ endpoints: [circle.url] }, {});
  await assertRejects(() => get(http), StoreUnavailableError, "too many redirects");
});

Deno.test("EtcdHttp rejects once it is closed, what runs and what comes", async () => {
  const { promise, resolve } = Promise.withResolvers<Response>();
  await using mute = member(() => promise);
  const http = new EtcdHttp({ endpoints: [mute.url] }, {});
  const running = assertRejects(
    () =>
      http.atSomeEndpoint(undefined, async (endpoint) => {
        await http.fetch(endpoint, { method: "GET", path: "/x" }, http.closed);
      }),
    StoreError,
    "the store is closed",
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  http[Symbol.dispose]();
  http[Symbol.dispose]();
  await running;
  await assertRejects(() => get(http), StoreError, "the store is closed");
  resolve(new Response());
});

Deno.test("EtcdHttp refuses an endpoint that is none, without showing it", () => {
  for (const text of ["root:secret@10.0.0.1:2379", "ftp://root:secret@10.0.0.1", "10.0.0.1"]) {
    const error = assertThrows(() => new EtcdHttp({ endpoints: [text] }, {}), ConfigError);
    assert(!error.message.includes("secret"));
  }
});

Deno.test("displayEndpoints() leaves credentials out", () => {
  assertEquals(
    displayEndpoints(["http://root:secret@10.0.0.1:2379/", "https://[fd00::1]:2379/etcd//"]),
    "http://10.0.0.1:2379,https://[fd00::1]:2379/etcd",
  );
});

Deno.test("errorText() reads as etcd's own tools write it", () => {
  assertEquals(
    errorText({ errorCode: 100, message: "Key not found", cause: "/atomic.io", index: 97 }),
    "100: Key not found (/atomic.io) [97]",
  );
  assertEquals(errorText({ message: "Insufficient credentials" }), "Insufficient credentials");
});
