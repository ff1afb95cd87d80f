import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { EtcdServer, freePort } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { StoreFollower } from "../lab/store_follower.ts";
import { TcpProxy } from "../lab/tcp_proxy.ts";
import { ConfigError } from "../../mod/config/errors.ts";
import { StoreError, StoreUnavailableError } from "../../mod/store/errors.ts";
import { openEtcdV3 } from "../../mod/store/testing/open_lab.ts";
import { EtcdV3Client, type EtcdV3ClientOptions } from "../../mod/store/etcd/v3/client.ts";
import { net, vxlan } from "../../mod/store/testing/store_lab.ts";

const PREFIX = "/flannel/network";
const ANY = { key: Buffer.from(`${PREFIX}/config`) };

function client(endpoints: readonly string[], options?: EtcdV3ClientOptions): EtcdV3Client {
  return new EtcdV3Client({ endpoints, prefix: PREFIX, api: "v3" }, {}, options);
}

Deno.test("EtcdV3Client.call() goes from endpoint to endpoint and stays with one that answers", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using proxy = new TcpProxy(etcd.endpoint);
  const dead = Array.from({ length: 4 }, () => `http://127.0.0.1:${freePort()}`);
  await using calls = client([...dead, `http://${proxy.address}`]);
  for (let i = 0; i < 5; i++) assertEquals((await calls.call("range", ANY)).kvs, []);
});

Deno.test("EtcdV3Client.call() names every endpoint that fails, and why", async () => {
  const ports = [freePort(), freePort()];
  await using calls = client([
    `http://user:secret@127.0.0.1:${ports[0]}`,
    `http://localhost:${ports[1]}`,
  ]);
  const { message } = await assertRejects(
    () => calls.call("range", ANY),
    StoreUnavailableError,
    "client: etcd cluster is unavailable or misconfigured; error #0: http://",
  );
  assertStringIncludes(message, `http://127.0.0.1:${ports[0]}: `);
  assertStringIncludes(message, `http://localhost:${ports[1]}: `);
  assertStringIncludes(message, "refused");
  assert(!message.includes("secret"));
});

Deno.test("EtcdV3Client.call() gives up on an endpoint that accepts and says nothing", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using mute = new TcpProxy(etcd.endpoint);
  mute.silence(true);
  await using calls = client([`http://${mute.address}`], { timeout: 1_000 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("enough")), 300);
  await assertRejects(() => calls.call("range", ANY, controller.signal), Error, "enough");
  mute.silence(false);
  // The connection is still the mute one; the call after its failure makes another.
  await assertRejects(() => calls.call("range", ANY), StoreUnavailableError, "no answer within ");
  assertEquals((await calls.call("range", ANY)).kvs, []);
});

Deno.test("EtcdV3Client.call() says of a server of another kind that it is one", async () => {
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => new Response(null, { status: 404 }),
  );
  await using calls = client([`http://127.0.0.1:${server.addr.port}`]);
  await assertRejects(() => calls.call("range", ANY), StoreError, "does not speak etcd's v3 API");

  using ssh = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const greeting = ssh.accept().then(async (connection) => {
    await connection.write(new TextEncoder().encode("SSH-2.0-OpenSSH_9.2\r\n"));
    return connection;
  });
  await using other = client([`http://127.0.0.1:${ssh.addr.port}`]);
  await assertRejects(
    () => other.call("range", ANY),
    StoreUnavailableError,
    "does not speak HTTP/2",
  );
  (await greeting).close();
});

Deno.test("EtcdV3Client.call() works after the server was restarted while nothing ran", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using calls = client([etcd.endpoint]);
  await calls.call("range", ANY);
  await etcd.restart();
  await calls.call("range", ANY);
});

Deno.test("EtcdV3Client doubts the scheme of an endpoint only as long as it has not answered", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  // Without a server behind it, it accepts a connection and closes it.
  await using proxy = new TcpProxy(etcd.endpoint);
  const endpoints = [`http://${proxy.address}`];
  await using calls = client(endpoints);
  await using watching = client(endpoints);
  await calls.call("range", ANY);
  const watch = watching.watch(ANY, new AbortController().signal)[Symbol.asyncIterator]();
  assert((await watch.next()).value!.created);
  const ended = assertRejects(() => watch.next(), StoreUnavailableError);
  await etcd.kill();
  const failure = async (calls: EtcdV3Client) =>
    (await assertRejects(() => calls.call("range", ANY), StoreUnavailableError)).message;
  for (const text of [(await ended).message, await failure(calls), await failure(watching)]) {
    assert(!text.includes("https"), text);
  }
  await using stranger = client(endpoints);
  assertStringIncludes(
    await failure(stranger),
    "the server closed the connection; is it https:// ?",
  );
});

Deno.test("EtcdV3Client.call() rejects once the client is closed", async () => {
  const calls = client(["http://127.0.0.1:1"]);
  await calls[Symbol.asyncDispose]();
  await assertRejects(() => calls.call("range", ANY), StoreError, "the store is closed");
});

Deno.test("EtcdV3Client authenticates again when its token has expired", async () => {
  await using etcd = await EtcdServer.start({ v2: false, flags: ["--auth-token-ttl=1"] });
  await etcd.enableAuth("v3", "secret");
  const proxy = new TcpProxy(etcd.endpoint);
  await using store = await openEtcdV3({
    endpoints: [`http://${proxy.address}`],
    prefix: PREFIX,
    api: "v3",
    username: "root",
    password: "secret",
  });
  await using follower = await StoreFollower.start(store);
  await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
  await follower.until(({ leases }) => leases.size === 1);

  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await store.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
  await follower.until(({ leases }) => leases.size === 2);
  assertEquals(follower.states, []);

  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await proxy[Symbol.asyncDispose]();
  await using _ = new TcpProxy(etcd.endpoint, { port: proxy.port });
  // The watch is the first to need the token this time.
  await follower.until(({ states }) => states.length >= 2);
  await store.createLease(net("10.20.3.0/24"), vxlan("192.0.2.3"), 600);
  await follower.until(({ leases }) => leases.size === 3);
  assertEquals(follower.resyncs, 0);
});

Deno.test("EtcdV3Client takes a user that the server does not need, and needs later", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const user = { username: "root", password: "secret" };
  await using store = await openEtcdV3({
    endpoints: [etcd.endpoint],
    prefix: PREFIX,
    api: "v3",
    ...user,
  });
  await store.snapshot();
  await etcd.enableAuth("v3", "secret");
  await store.snapshot();
});

Deno.test("EtcdV3Client takes the user that an endpoint names", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await etcd.enableAuth("v3", "S3cret/+ é");
  const endpoint = etcd.endpoint.replace("//", `//root:${encodeURIComponent("S3cret/+ é")}@`);
  await using calls = client([endpoint]);
  assertEquals((await calls.call("range", ANY)).kvs, []);
});

Deno.test("EtcdV3Client refuses an endpoint that is none, without showing it", () => {
  const error = assertThrows(() => client(["root:secret@10.0.0.1:2379"]), ConfigError);
  assert(!error.message.includes("secret"));
});

Deno.test("EtcdV3Client names the user without rights, and the key", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await gateway.call("auth/user/add", { name: "agent", password: "secret" });
  await etcd.enableAuth("v3", "secret");
  await using store = await openEtcdV3({
    endpoints: [etcd.endpoint],
    prefix: PREFIX,
    api: "v3",
    username: "agent",
    password: "secret",
  });
  const error = await assertRejects(
    () => store.snapshot(),
    StoreError,
    `denies user "agent" access to the prefix`,
  );
  assert(!(error instanceof StoreUnavailableError));
  assert(!Deno.inspect(error, { depth: 9 }).includes("secret"));
});

Deno.test("EtcdV3Client lets the process exit when it is closed, watches and all", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using proxy = new TcpProxy(etcd.endpoint);
  const script = `
    import { openEtcdV3 } from "${import.meta.resolve("../../mod/store/etcd/v3/etcd_v3.ts")}";
    const options = { endpoints: ["http://${proxy.address}"], prefix: "${PREFIX}", api: "v3" };
    const store = await openEtcdV3(options, { heartbeat: 60_000 });
    const range = { prefix: "${PREFIX}" };
    const { cursor } = await store.list(range);
    const watch = store.watch(range, cursor, { signal: new AbortController().signal });
    const next = watch[Symbol.asyncIterator]().next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    console.log("open");
    await Deno.stdin.read(new Uint8Array(1));
    await store[Symbol.asyncDispose]();
    console.log((await next).done);
  `;
  // Once with a connection that works, once with one that was cut in silence.
  for (const silent of [false, true]) {
    await using process = new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        `--config=${new URL(import.meta.resolve("../../deno.json")).pathname}`,
        script,
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const output = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await output.read()).value, "open\n");
    proxy.silence(silent);
    await process.stdin.close();
    const started = performance.now();
    assertEquals((await output.read()).value, "true\n");
    assertEquals(await output.read(), { done: true, value: undefined });
    assertEquals((await process.status).code, 0);
    assert(performance.now() - started < 2_000, "exits at once");
    proxy.silence(false);
  }
});
