import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { askRaw } from "./testing/raw_http.ts";
import type { Prefix } from "../ip/mod.ts";
import {
  encodeLeaseValue,
  encodeNodeRecord,
  type Lease,
  LEASE_TTL,
  PERMANENT,
  sameAttributes,
} from "../lease/mod.ts";
import { decodeNetworkConfig } from "../config/mod.ts";
import { captureLog } from "../observe/testing/log_lab.ts";
import { makeEmbeddedLab } from "../store/testing/embedded_lab.ts";
import type { Expect } from "../store/kv/kv.ts";
import { encodePut } from "../store/remote/wire.ts";
import { AccessError, type NetworkStore } from "../store/mod.ts";
import { openRemote } from "../store/testing/open_lab.ts";
import { ip, net, record, vxlan } from "../store/testing/store_lab.ts";
import { acquireLease } from "../subnet/mod.ts";
import { libc } from "../sys/mod.ts";
import { serveLeases, type ServerOptions } from "./server.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

const TOKEN = "0123456789abcdef0123456789abcdef";
const WITH_TOKEN = { Authorization: `Bearer ${TOKEN}` };
/** Where the tests connect from. */
const HERE = "127.0.0.1";
const AWAY = "192.0.2.7";

/** Serves an embedded store on a port of loopback while `step` runs. */
async function serving(
  { onLeaseRead, ...options }: Pick<ServerOptions, "token" | "hostNames"> & {
    /** Runs between the server's reading of a lease and its next step. */
    readonly onLeaseRead?: (subnet: Prefix, store: NetworkStore) => Promise<void>;
  },
  step: (
    ask: (
      method: string,
      target: string,
      body?: string,
      headers?: Record<string, string>,
    ) => ReturnType<typeof askRaw>,
    store: NetworkStore,
    port: number,
  ) => Promise<void>,
): Promise<void> {
  await using lab = makeEmbeddedLab();
  await lab.put("/_/config", '{"Network": "10.73.0.0/16"}');
  await using store = await lab.open("/_");
  const stop = new AbortController();
  const listener = Deno.listen({ hostname: HERE, port: 0 });
  const done = serveLeases({
    connections: listener,
    networks: {
      open: async (network) => {
        const served = await lab.open(`/${network}`);
        const read = served.lease.bind(served);
        served.lease = async (subnet, call) => {
          const held = await read(subnet, call);
          await onLeaseRead?.(subnet, store);
          return held;
        };
        return served;
      },
    },
    signal: stop.signal,
    limits: { arrival: 60_000 },
    ...options,
  });
  try {
    const { port } = listener.addr;
    await step((...args) => askRaw(port, ...args), store, port);
  } finally {
    stop.abort();
    await done;
  }
}

const put = (publicIP: string, ttl = LEASE_TTL, expect: Expect = "absent") =>
  encodePut({ value: encodeLeaseValue(vxlan(publicIP), "v0.7"), ttl, expect });
const node = (ttl = LEASE_TTL, expect: Expect = "absent") =>
  encodePut({ value: encodeNodeRecord(record("host1")), ttl, expect });

/** Writes below /store, and whether a client without credentials may make them. */
const WRITES: readonly (readonly [string, string, string, boolean])[] = [
  ["PUT", "store/config", encodePut({ value: "{}", ttl: 0, expect: { revision: "1" } }), false],
  ["DELETE", "store/config?revision=1", "", false],
  ["PUT", "store/subnets/10.73.4.0-24", put(AWAY), false],
  ["PUT", "store/subnets/8.8.8.0-24", put(HERE), false],
  ["PUT", "store/subnets/10.73.4.0-24", put(HERE, PERMANENT), false],
  ["PUT", "store/subnets/10.73.4.0-24", put(HERE, LEASE_TTL + 1), false],
  ["PUT", "store/subnets/10.73.4.0-24", put(HERE, LEASE_TTL, "any"), false],
  ["PUT", "store/subnets/10.73.4.0-24", put(HERE), true],
  ["DELETE", "store/subnets/10.73.5.0-24", "", false],
  ["PUT", `store/agents/${AWAY}`, node(), false],
  ["PUT", `store/agents/${HERE}`, node(PERMANENT), false],
  ["PUT", `store/agents/${HERE}`, node(LEASE_TTL + 1), false],
  ["PUT", `store/agents/${HERE}`, node(LEASE_TTL, "any"), false],
  ["PUT", `store/agents/${HERE}`, node(), true],
  ["DELETE", `store/agents/${AWAY}?revision=1`, "", false],
];

Deno.test("serveLeases() lets a client without credentials write only what is under its address", async () => {
  await serving({}, async (ask) => {
    for (const [method, path, body, isOwn] of WRITES) {
      const answer = await ask(method, `/v1/_/${path}`, body || undefined);
      assertEquals(answer.status, isOwn ? 200 : 403, `${method} ${path}: ${answer.body}`);
    }
  });
});

const READS = [
  ...["", "?next=1", "/version", "/config", `/agents/${HERE}`].map((path) => `/v1/_/store${path}`),
  ...["/v1/networks", "/v1/networks?next=1", "/v1/other/store", "/nowhere"],
];

Deno.test("serveLeases() with a token serves nothing without it, not even to the address that holds a lease", async () => {
  await serving({ token: TOKEN }, async (ask, store) => {
    const held = await store.createLease(net("10.73.9.0/24"), vxlan(HERE), 600);
    const writes = WRITES.map(([method, path, body]) => [method, `/v1/_/${path}`, body] as const);
    for (const [method, target, body] of [...READS.map((path) => ["GET", path, ""]), ...writes]) {
      const { status, body: text } = await ask(method, target, body || undefined);
      assertEquals([status, text], [
        401,
        "this server needs a token: give -remote-token-file with the content of the server's\n",
      ], `${method} ${target}`);
    }
    const { leases, agents } = await store.snapshot();
    assertEquals(leases.map(({ revision }) => revision), [held.revision]);
    assertEquals(agents, []);
  });
});

Deno.test("serveLeases() lets a client with the token write everything", async () => {
  await serving({ token: TOKEN }, async (ask) => {
    for (const [method, path, body] of WRITES) {
      const answer = await ask(method, `/v1/_/${path}`, body || undefined, WITH_TOKEN);
      // The store itself refuses a write with another revision (409).
      assert([200, 409].includes(answer.status), `${method} ${path}: ${answer.body}`);
    }
  });
});

Deno.test("serveLeases() has no client without credentials change or remove another host's lease", async () => {
  await serving({}, async (ask, store) => {
    const held = await store.createLease(net("10.73.9.0/24"), vxlan(AWAY), 600);
    const path = "/v1/_/store/subnets/10.73.9.0-24";
    assertEquals(
      (await ask("PUT", path, put(HERE, LEASE_TTL, { revision: held.revision }))).status,
      403,
    );
    assertEquals((await ask("PUT", path, put(HERE))).status, 409);
    assertEquals((await ask("DELETE", `${path}?revision=${held.revision}`)).status, 403);
    assertEquals((await store.lease(held.subnet))?.revision, held.revision);
    // Its own it may, also one that an operator has made permanent, which stays so.
    const own = await store.createLease(net("10.73.10.0/24"), vxlan(HERE), PERMANENT);
    const ownPath = "/v1/_/store/subnets/10.73.10.0-24";
    assertEquals(
      (await ask("PUT", ownPath, put(HERE, LEASE_TTL, { revision: own.revision }))).status,
      403,
    );
    const renewed = await ask("PUT", ownPath, put(HERE, PERMANENT, { revision: own.revision }));
    assertEquals(renewed.status, 200);
    const { revision } = (await store.lease(own.subnet))!;
    assertEquals((await ask("DELETE", `${ownPath}?revision=${revision}`)).status, 200);
  });
});

Deno.test("serveLeases() has no client without credentials change a lease that was written since the check", async () => {
  const subnet = net("10.73.9.0/24");
  const path = "/v1/_/store/subnets/10.73.9.0-24";
  let other: Lease | undefined;
  const onLeaseRead = async (_subnet: Prefix, store: NetworkStore) => {
    other ??= await store.createLease(subnet, vxlan(AWAY), 600);
  };
  await serving({ onLeaseRead }, async (ask, store) => {
    // The next revisions of a store can be guessed: one of these is the other host's.
    for (let ahead = 1; ahead < 6; ahead++) {
      for (const method of ["DELETE", "PUT"]) {
        const own = await store.createLease(net("10.73.8.0/24"), vxlan(HERE), 600);
        const revision = String(Number(own.revision) + ahead);
        await store.removeLease(own);
        const answer = method === "DELETE"
          ? await ask(method, `${path}?revision=${revision}`)
          : await ask(method, path, put(HERE, LEASE_TTL, { revision }));
        assertEquals(answer.status, method === "DELETE" ? 200 : 409, answer.body);
        assertEquals((await store.lease(subnet))?.revision, other!.revision, `${method} ${ahead}`);
        await store.removeLease(other!);
        other = undefined;
      }
    }
  });
});

Deno.test("serveLeases() has no client without credentials write for a host that wrote its node record with them", async () => {
  await serving({}, async (ask, store) => {
    // As an agent does that shares this server's store: on etcd, or with a token before.
    const held = await store.putNodeRecord(ip(HERE), record("host1"), 600, undefined);
    const lease = await store.createLease(net("10.73.9.0/24"), vxlan(HERE), 600);
    const key = `/v1/_/store/agents/${HERE}`;
    const leaseKey = "/v1/_/store/subnets/10.73.9.0-24";
    const { revision } = held;
    for (
      const [method, target, body] of [
        ["PUT", key, node(LEASE_TTL, { revision })],
        ["DELETE", `${key}?revision=${revision}`],
        ["PUT", leaseKey, put(HERE, LEASE_TTL, { revision: lease.revision })],
        ["DELETE", `${leaseKey}?revision=${lease.revision}`],
        ["PUT", "/v1/_/store/subnets/10.73.4.0-24", put(HERE)],
      ] as const
    ) {
      const { status, body: text } = await ask(method, target, body);
      assertEquals(status, 403, `${method} ${target}`);
      assertStringIncludes(text, `of ${HERE}, whose host host1 has them, needs credentials`);
    }
  });
});

Deno.test("serveLeases() marks what a client without credentials writes, and nothing else", async () => {
  for (const token of [undefined, TOKEN]) {
    await serving({ token }, async (ask, store) => {
      const headers = token === undefined ? {} : WITH_TOKEN;
      await ask("PUT", "/v1/_/store/subnets/10.73.4.0-24", put(HERE), headers);
      await ask("PUT", `/v1/_/store/agents/${HERE}`, node(), headers);
      const { leases: [lease], agents: [agent] } = await store.snapshot();
      const isMarked = token === undefined ? true : undefined;
      assertEquals(lease!.attributes.isUnauthenticated, isMarked);
      assertEquals(agent!.record.isUnauthenticated, isMarked);
      // Its writer finds it as it was written.
      assert(sameAttributes(lease!.attributes, vxlan(HERE)));
    });
  }
});

Deno.test("acquireLease() without credentials takes another subnet when its host's address has changed", async () => {
  await serving({}, async (_ask, store, port) => {
    const former = await store.createLease(net("10.73.9.0/24"), vxlan(AWAY), 600);
    await using remote = await openRemote({ kind: "remote", servers: [`${HERE}:${port}`] });
    const { config } = await remote.snapshot();
    if (!("text" in config)) throw new Error(config.missing);
    const network = await decodeNetworkConfig(config.text);
    const lease = await acquireLease(remote, network, vxlan(HERE), { held: former });
    assert(!lease.subnet.equals(former.subnet), String(lease.subnet));
    assertEquals((await store.lease(former.subnet))?.revision, former.revision);
    // The error names the missing permission and the flag that grants it.
    const error = await assertRejects(
      () => remote.putConfig("{}", config.text),
      AccessError,
      "the network config needs credentials, and this server has none: it runs with -listen-allow-un",
    );
    assertEquals(error.message.split("\n").length, 1);
  });
});

Deno.test("serveLeases() refuses a wrong token, and never logs one", async () => {
  using log = captureLog();
  const wrong = `${TOKEN.slice(0, -1)}0`;
  await serving({ token: TOKEN }, async (ask) => {
    const body = put(AWAY);
    for (const authorization of [`Bearer ${wrong}`, `Basic ${TOKEN}`, "Bearer", TOKEN]) {
      const answer = await ask("PUT", "/v1/_/store/subnets/10.73.4.0-24", body, {
        Authorization: authorization,
      });
      assertEquals(answer.status, 401, authorization);
    }
    const right = await ask("PUT", "/v1/_/store/subnets/10.73.4.0-24", body, WITH_TOKEN);
    assertEquals(right.status, 200);
  });
  // A server without a token ignores one, so that clients can be given it first.
  await serving({}, async (ask) => {
    assertEquals((await ask("GET", "/v1/_/store", undefined, WITH_TOKEN)).status, 200);
    assertEquals(
      (await ask("PUT", "/v1/_/store/subnets/10.73.4.0-24", put(AWAY), WITH_TOKEN)).status,
      403,
    );
  });
  const text = log.lines.join("\n");
  assertStringIncludes(
    text,
    "Refused PUT /v1/_/store/subnets/10.73.4.0-24 from 127.0.0.1: the token",
  );
  assertStringIncludes(text, "PUT /v1/_/store/subnets/10.73.4.0-24 - 200 (127.0.0.1, token)");
  assertStringIncludes(
    text,
    "PUT /v1/_/store/subnets/10.73.4.0-24 - 403 (127.0.0.1, no credentials)",
  );
  assert(!text.includes(TOKEN) && !text.includes(wrong), text);
});

Deno.test("serveLeases() answers 429 after a burst of wrong tokens, and 200 to the right one", async () => {
  using log = captureLog();
  await serving({ token: TOKEN }, async (ask) => {
    const status = async (token: string, n: number) =>
      (await ask("GET", `/v1/_/store?n=${n}`, undefined, { Authorization: `Bearer ${token}` }))
        .status;
    const seen = new Set<number>();
    for (let i = 0; i < 1_000 && !seen.has(429); i++) seen.add(await status("f".repeat(32), i));
    assertEquals([...seen], [401, 429]);
    assertEquals(await status(TOKEN, 0), 200);
  });
  assertStringIncludes(
    log.lines.join("\n"),
    "Refused requests from 127.0.0.1: too many wrong tokens from 127.0.0.1",
  );
});

Deno.test("serveLeases() refuses what a web page can have a browser send", async () => {
  await serving({ hostNames: new Set(["host100"]) }, async (ask) => {
    const record = node();
    const cases: readonly (readonly [Record<string, string>, number])[] = [
      [{ Host: "evil.example" }, 421],
      [{ Host: "evil.example:8888" }, 421],
      [{ Host: "host100.evil.example" }, 421],
      [{ Host: "127.0.0.1.evil.example" }, 421],
      [{ Host: "a, b" }, 421],
      [{ Host: "HOST100.:8888" }, 200],
      [{ Host: "localhost" }, 200],
      [{ Host: "[::1]:8888" }, 200],
      [{ Origin: "http://127.0.0.1" }, 403],
      [{ Origin: "null" }, 403],
      [{ "Content-Type": "text/plain" }, 415],
      [{ "Content-Type": "application/x-www-form-urlencoded" }, 415],
      [{ "Content-Type": "" }, 415],
      [{ "Content-Type": "application/json; charset=utf-8" }, 200],
    ];
    for (const [headers, status] of cases) {
      const path = `/v1/_/store/agents/${HERE}`;
      for (const target of [path, `http://127.0.0.1${path}`]) {
        if (target.startsWith("http") && status === 421) continue;
        const answer = await ask("PUT", target, record, headers);
        // The first one writes the record.
        const isRight = answer.status === status || (status === 200 && answer.status === 409);
        assert(isRight, `${JSON.stringify(headers)}: ${answer.status} ${answer.body}`);
      }
    }
    const absolute = await ask("GET", "http://evil.example/v1/_/store");
    assertEquals(absolute.status, 421);
  });
  // A client that has the token knows the server by a name that an operator gave it.
  await serving({ token: TOKEN }, async (ask) => {
    const status = async (headers: Record<string, string>) =>
      (await ask("GET", "/v1/_/store", undefined, { ...headers, ...WITH_TOKEN })).status;
    assertEquals(await status({ Host: "leases.example" }), 200);
    assertEquals(await status({ Origin: "null" }), 403);
  });
});
