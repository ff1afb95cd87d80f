/** Answers of stores' servers: etcd v2 and v3, and `-listen`. */
import { Buffer } from "node:buffer";
import { createServer, type ServerHttp2Stream } from "node:http2";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { IKeyValue, IWatchResponse } from "etcd3";
import { configureLog } from "../../../mod/observe/log/log.ts";
import { StoreError } from "../../../mod/store/errors.ts";
import { EtcdHttp } from "../../../mod/store/etcd/http.ts";
import { openEtcdV2 } from "../../../mod/store/testing/open_lab.ts";
import { EtcdV3Kv } from "../../../mod/store/etcd/v3/etcd_v3.ts";
import { networkOf, openEtcdV3 } from "../../../mod/store/testing/open_lab.ts";
import type { EtcdV3Caller } from "../../../mod/store/etcd/v3/client.ts";
import { EtcdV3Gateway } from "../../../mod/store/etcd/v3/gateway.ts";
import { openRemote } from "../../../mod/store/testing/open_lab.ts";
import { VERSION_BODY } from "../../../mod/store/remote/wire.ts";
import { net, vxlan } from "../../../mod/store/testing/store_lab.ts";
import type { NetworkStore } from "../../../mod/store/mod.ts";
import { bytesNear, concat, jsonNear } from "../mutate.ts";
import { BytePeer, httpAnswer } from "../peer.ts";
import { type FuzzTarget, refusingAsync } from "../target.ts";
import { CONFIGS } from "./config.ts";
import { LEASE_VALUES, NODE_RECORDS } from "./lease_values.ts";
import { STORE_MESSAGES } from "./remote_messages.ts";

const PREFIX = "/coreos.com/network";
const SUBNET = net("10.20.93.0/24");
/** Times of watches that a run need not wait for, in milliseconds. */
const QUICK = {
  shortestPoll: 50,
  longestPoll: 100,
  settled: 10,
  firstBackoff: 1,
  longestBackoff: 2,
};
/** How long a call may take; nobody answers later than at once. */
const LONG_MS = 20_000;

/** An answer: as JSON of the shape that is expected, or as any bytes. */
interface Answer {
  readonly status: number;
  readonly body: string;
  readonly raw?: Uint8Array;
}

function answers(bodies: readonly string[], keys: readonly string[]): fc.Arbitrary<Answer> {
  const good = bodies.map((body) => httpAnswer(200, body, { "X-Etcd-Index": "12" }));
  return fc.record({
    status: fc.constantFrom(200, 200, 200, 201, 204, 400, 401, 404, 412, 500, 503),
    body: jsonNear(bodies, keys),
    raw: fc.oneof(bytesNear(good), bytesNear(good)),
  }, { requiredKeys: ["status", "body"] });
}

function bytesOf({ status, body, raw }: Answer): Uint8Array {
  return raw ?? httpAnswer(status, status === 204 ? "" : body, {
    ...{ "X-Etcd-Index": "12", "X-Etcd-Cluster-Id": "48276a8f75b6a87" },
  });
}

/** Calls a store as an agent does. Each call ends, with a result or an error of stores. */
async function useStore(store: NetworkStore): Promise<void> {
  const signal = AbortSignal.timeout(LONG_MS);
  await refusingAsync([StoreError], () => store.snapshot({ signal }));
  await refusingAsync([StoreError], () => store.lease(SUBNET, { signal }));
  const attributes = vxlan("192.0.2.7");
  await refusingAsync([StoreError], () => store.createLease(SUBNET, attributes, 60, { signal }));
  const lease = { subnet: SUBNET, attributes, ttl: 60, revision: "7" };
  await refusingAsync([StoreError], () => store.updateLease(lease, attributes, 60, { signal }));
  await refusingAsync([StoreError], () => store.removeLease(lease, { signal }));
  await refusingAsync([StoreError], () => store.agent(0xc0000207, { signal }));
}

/** Follows a store until something happens, or for a moment. */
async function followStore(store: NetworkStore, cursor: string): Promise<void> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), 60);
  let items = 0;
  try {
    const items_ = store.watch(cursor, { signal: stop.signal, onState: () => stop.abort() });
    for await (const _ of items_) if (++items === 3) stop.abort();
  } finally {
    clearTimeout(timer);
  }
}

async function silently(stack: AsyncDisposableStack): Promise<BytePeer> {
  const before = configureLog({ format: "glog", write: () => {} });
  stack.defer(() => void configureLog(before));
  return await Promise.resolve(stack.use(new BytePeer()));
}

const quoted = JSON.stringify;
const node = (key: string, value: string) =>
  `{"key":"${PREFIX}/${key}","value":${quoted(value)},"modifiedIndex":7,"createdIndex":7,` +
  `"ttl":60,"expiration":"2026-11-29T10:00:00Z"}`;
const LEASE_NODE = node("subnets/10.20.93.0-24", LEASE_VALUES[2]);
const ETCD_V2 = [
  `{"action":"get","node":{"key":"${PREFIX}","dir":true,"nodes":[${
    node("config", CONFIGS[0])
  },{"key":"${PREFIX}/subnets","dir":true,"nodes":[${LEASE_NODE}]},${
    node("agents/192.0.2.7", NODE_RECORDS[0])
  }],"modifiedIndex":3,"createdIndex":3}}`,
  `{"action":"set","node":${LEASE_NODE}}`,
  `{"action":"expire","node":{"key":"${PREFIX}/subnets/10.20.93.0-24","modifiedIndex":9,"createdIndex":7},"prevNode":${LEASE_NODE}}`,
  '{"errorCode":100,"message":"Key not found","cause":"/coreos.com","index":12}',
  '{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"x","index":1012}',
];

export const etcdV2: FuzzTarget<Answer> = {
  name: "etcd_v2",
  seeds: ETCD_V2.map((body) => ({ status: body.includes("errorCode") ? 404 : 200, body })),
  inputs: answers(ETCD_V2, ["node", "nodes", "key", "value", "modifiedIndex", "ttl", "action"]),
  start: async (stack) => {
    const peer = await silently(stack);
    const endpoints = [`http://127.0.0.1:${peer.port}`];
    return async (input) => {
      peer.answer = () => bytesOf(input);
      await using store = await openEtcdV2({ endpoints, prefix: PREFIX, api: "v2" }, QUICK);
      await useStore(store);
      await followStore(store, "48276a8f75b6a87@3");
    };
  },
};

const base64 = (text: string) => btoa(text);
const GATEWAY = [
  `{"header":{"cluster_id":"1","revision":"12"},"kvs":[{"key":"${
    base64(`${PREFIX}/config`)
  }","value":"${base64(CONFIGS[0])}","mod_revision":"7"}],"count":"1"}`,
  '{"error":"etcdserver: user name is empty","code":3,"message":"etcdserver: user name is empty"}',
  '{"header":{"revision":"12"}}',
];

export const etcdGateway: FuzzTarget<Answer> = {
  name: "etcd_v3_gateway",
  seeds: GATEWAY.map((body) => ({ status: 200, body })),
  inputs: answers(GATEWAY, ["header", "kvs", "key", "value", "code", "error", "message"]),
  start: async (stack) => {
    const peer = await silently(stack);
    const endpoints = [`http://127.0.0.1:${peer.port}`];
    return async (input) => {
      peer.answer = () => bytesOf(input);
      using http = new EtcdHttp({ endpoints }, {});
      await refusingAsync([StoreError], () =>
        new EtcdV3Gateway(http).range(
          { key: `${PREFIX}/config` },
          AbortSignal.timeout(LONG_MS),
        ));
    };
  },
};

/** A value of etcd v3 as the client library hands it on: bytes of any kind. */
interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly revision: number;
  readonly lease: string;
}

interface V3Input {
  readonly entries: readonly Entry[];
  readonly isDelete: boolean;
  readonly compacted: number;
  readonly revision: number;
}

const encode = (text: string) => new TextEncoder().encode(text);
const V3_KEYS = [
  "config",
  "subnets/10.20.93.0-24",
  "subnets/10.20.93.0-24&fd00::-56",
  "agents/192.0.2.7",
  "subnets",
].map((key) => encode(`${PREFIX}/${key}`));
const V3_VALUES = [...CONFIGS, ...LEASE_VALUES, ...NODE_RECORDS, ""].map(encode);

/** Answers ranges and a watch with given entries, as `EtcdV3Client` does with etcd's. */
class GivenEntries implements EtcdV3Caller {
  readonly #input: V3Input;
  readonly #kvs: IKeyValue[];

  constructor(input: V3Input) {
    this.#input = input;
    this.#kvs = input.entries.map(({ key, value, revision, lease }) => ({
      ...{ key: Buffer.from(key), value: Buffer.from(value), lease, version: "1" },
      ...{ create_revision: "1", mod_revision: String(revision) },
    }));
  }

  get #header() {
    const { revision } = this.#input;
    return { cluster_id: "1", member_id: "1", revision: String(revision), raft_term: "1" };
  }

  call(method: string): Promise<never> {
    const range = { header: this.#header, kvs: this.#kvs, more: false, count: "1" };
    const answer = method === "range"
      ? range
      : method === "leaseGrant"
      ? { ID: "7", TTL: "60" }
      : method === "leaseTimeToLive"
      ? { ID: "7", TTL: "50", grantedTTL: "60", keys: [] }
      : { header: this.#header, succeeded: false, responses: [{ response_range: range }] };
    return Promise.resolve(answer as never);
  }

  async *watch(): AsyncGenerator<IWatchResponse> {
    await Promise.resolve();
    const events = this.#kvs.map((kv) => ({ type: this.#input.isDelete ? "Delete" : "Put", kv }));
    yield { header: this.#header, created: true, compact_revision: "0", events: [] } as never;
    yield {
      ...{ header: this.#header, created: false, events },
      compact_revision: String(this.#input.compacted),
    } as never;
    throw new StoreError("the watch ends");
  }

  reconnect(): void {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

export const etcdV3: FuzzTarget<V3Input> = {
  name: "etcd_v3",
  seeds: [0, 5].map((compacted) => ({
    entries: V3_KEYS.map((key, i) => ({ key, value: V3_VALUES[i]!, revision: 7 + i, lease: "7" })),
    ...{ isDelete: compacted > 0, compacted, revision: 12 },
  })),
  inputs: fc.record({
    entries: fc.array(
      fc.record({
        key: bytesNear(V3_KEYS, 40),
        value: bytesNear(V3_VALUES, 60),
        revision: fc.nat(20),
        lease: fc.constantFrom("0", "7", "9223372036854775807"),
      }),
      { maxLength: 5 },
    ),
    isDelete: fc.boolean(),
    compacted: fc.constantFrom(0, 0, 0, 5),
    revision: fc.constantFrom(12, 12, 3),
  }),
  start: async (stack) => {
    await silently(stack);
    return async (input) => {
      const options = { endpoints: ["http://127.0.0.1:2379"], prefix: PREFIX };
      await using store = networkOf(new EtcdV3Kv(options, new GivenEntries(input)), options);
      await useStore(store);
      await followStore(store, "3");
    };
  },
};

/** A member of protobuf that has a length, shorter than 128 bytes. */
const member = (number: number, body: Uint8Array) =>
  concat(Uint8Array.of(number << 3 | 2, body.length), body);

/** RangeResponse: a header with cluster and revision, and the config, of revision 7. */
const RANGE = concat(
  member(1, Uint8Array.of(8, 1, 24, 12)),
  member(
    2,
    concat(member(1, V3_KEYS[0]!), Uint8Array.of(24, 7), member(5, encode(CONFIGS[0]))),
  ),
  Uint8Array.of(32, 1),
);

/** An answer of gRPC. HTTP/2 itself is the runtime's, and its frames are right. */
interface GrpcAnswer {
  readonly status: string;
  readonly contentType: string;
  /** Messages, each behind a byte and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
  readonly body: Uint8Array;
  readonly grpcStatus: string;
  readonly grpcMessage: string;
}

const GOOD_GRPC: GrpcAnswer = {
  ...{ status: "200", contentType: "application/grpc", grpcStatus: "0", grpcMessage: "" },
  body: concat(Uint8Array.of(0, 0, 0, 0, RANGE.length), RANGE),
};

/** Answers each call of gRPC alike. */
async function grpcPeer(
  stack: AsyncDisposableStack,
  answer: () => GrpcAnswer,
): Promise<number> {
  const server = createServer();
  server.on("stream", (stream: ServerHttp2Stream) => {
    const { status, contentType, body, grpcStatus, grpcMessage } = answer();
    stream.on("error", () => {});
    stream.on(
      "wantTrailers",
      () => stream.sendTrailers({ "grpc-status": grpcStatus, "grpc-message": grpcMessage }),
    );
    stream.respond({ ":status": status, "content-type": contentType }, { waitForTrailers: true });
    stream.end(body);
  });
  server.on("sessionError", () => {});
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  stack.defer(() => void server.close());
  return (server.address() as { port: number }).port;
}

/** The client library's results from etcd's messages and errors. */
export const etcdGrpc: FuzzTarget<GrpcAnswer> = {
  name: "etcd_v3_grpc",
  seeds: [
    GOOD_GRPC,
    { ...GOOD_GRPC, body: new Uint8Array() },
    { ...GOOD_GRPC, body: new Uint8Array(5) },
    { ...GOOD_GRPC, grpcStatus: "14", grpcMessage: "etcdserver: leader changed" },
    { ...GOOD_GRPC, status: "503", contentType: "text/plain" },
  ],
  inputs: fc.record({
    status: fc.constantFrom("200", "200", "200", "404", "503"),
    contentType: fc.constantFrom("application/grpc", "application/grpc", "text/html", ""),
    body: bytesNear([GOOD_GRPC.body]),
    grpcStatus: fc.constantFrom("0", "0", "0", "1", "5", "12", "14", "16", "99", "-1", "x", ""),
    grpcMessage: fc.constantFrom("", "etcdserver: user name is empty", "%zz", "%e2%80%ae%0a"),
  }),
  start: async (stack) => {
    await silently(stack);
    let given = GOOD_GRPC;
    const endpoints = [`http://127.0.0.1:${await grpcPeer(stack, () => given)}`];
    return async (input) => {
      given = input;
      const options = { endpoints, prefix: PREFIX, api: "v3" } as const;
      await using store = await openEtcdV3(options, { timeout: 2_000, heartbeat: 1_000 });
      const snapshot = await refusingAsync([StoreError], () => store.snapshot());
      if (input === GOOD_GRPC) assertEquals(snapshot?.cursor, "12");
    };
  },
};

const REMOTE = [...STORE_MESSAGES, ...CONFIGS, VERSION_BODY];

export const remoteServer: FuzzTarget<Answer> = {
  name: "remote_server",
  seeds: REMOTE.map((body) => ({ status: 200, body })),
  inputs: answers(REMOTE, ["cursor", "listing", "changes", "entries"]),
  start: async (stack) => {
    const peer = await silently(stack);
    return async (input) => {
      peer.answer = (head) =>
        /^GET \S*\/store\/version /.test(head) ? httpAnswer(200, VERSION_BODY) : bytesOf(input);
      const servers = [`127.0.0.1:${peer.port}`];
      await using store = await openRemote({ kind: "remote", servers });
      await useStore(store);
      await followStore(store, "3");
    };
  },
};
