import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { TcpProxy } from "../lab/tcp_proxy.ts";
import { configureLog } from "../../mod/observe/log/log.ts";
import { Endpoint } from "../../mod/store/etcd/v3/endpoint.ts";

const ANY = { key: Buffer.from("/flannel/network/config") };

function options(more: { timeout?: number; signal?: AbortSignal } = {}) {
  return { metadata: new Metadata(), timeout: 5_000, ...more };
}

Deno.test("Endpoint makes many calls over one connection, and a new one when it is used up", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using proxy = new TcpProxy(etcd.endpoint);
  await using endpoint = new Endpoint(`http://${proxy.address}`, {});
  await Promise.all(Array.from({ length: 20 }, () => endpoint.call("range", ANY, options())));
  assertEquals(proxy.accepted, 1);
  for (let i = 0; i < 600; i++) await endpoint.call("range", ANY, options());
  assertEquals(proxy.accepted, 3);

  await new EtcdGateway(etcd).put(ANY.key.toString(), "x".repeat(1_000_000));
  for (let i = 0; i < 6; i++) await endpoint.call("range", ANY, options());
  assertEquals(proxy.accepted, 4);
});

Deno.test("Endpoint keeps a used-up connection for as long as a watch runs over it", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using proxy = new TcpProxy(etcd.endpoint);
  await using endpoint = new Endpoint(`http://${proxy.address}`, {});
  const stream = await endpoint.watch(new Metadata(), new AbortController().signal);
  for (let i = 0; i < 310; i++) await endpoint.call("range", ANY, options());
  assertEquals(proxy.accepted, 1);
  const responses = stream[Symbol.asyncIterator]();
  stream.cancel();
  await assertRejects(() => responses.next());
  for (let i = 0; i < 2; i++) await endpoint.call("range", ANY, options());
  assertEquals(proxy.accepted, 2);
});

Deno.test("Endpoint.call() gives a call up with the signal's reason, and no other", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using endpoint = new Endpoint(etcd.endpoint, {});
  await endpoint.call("range", ANY, options());
  await etcd.freeze(true);
  const controller = new AbortController();
  const given = endpoint.call("range", ANY, options({ signal: controller.signal }));
  const other = endpoint.call("range", ANY, options());
  controller.abort(new Error("enough"));
  await assertRejects(() => given, Error, "enough");
  await etcd.freeze(false);
  assertEquals((await other).kvs, []);
});

Deno.test("Endpoint.reset() fails what is under way with its reason; the next call works", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await using endpoint = new Endpoint(etcd.endpoint, {});
  const stream = await endpoint.watch(new Metadata(), new AbortController().signal);
  stream.write({ create_request: { ...ANY } });
  const responses = stream[Symbol.asyncIterator]();
  assert((await responses.next()).value.created);
  await etcd.freeze(true);
  const call = endpoint.call("range", ANY, options());
  // The call is on its way once the connection was found to stand.
  await new Promise((resolve) => setTimeout(resolve, 50));
  endpoint.reset(new Error("cut"));
  await assertRejects(() => call, Error, "cut");
  await assertRejects(() => responses.next(), Error, "cut");
  await etcd.freeze(false);
  assertEquals((await endpoint.call("range", ANY, options())).kvs, []);
});

Deno.test("gRPC's own words go to the log, which escapes what a server sent", () => {
  const lines: string[] = [];
  const before = configureLog({ verbosity: 1, write: (line) => lines.push(line) });
  try {
    Metadata.fromHttp2Headers({ "content-type": "application/\u009b31m" });
  } finally {
    configureLog(before);
  }
  assertEquals(lines.length, 1);
  assertStringIncludes(lines[0]!, "gRPC: ");
  assertStringIncludes(lines[0]!, "application/\\x9b31m");
});
