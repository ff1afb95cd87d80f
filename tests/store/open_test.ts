import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type Certificates, makeCertificates } from "../lab/certificates.ts";
import { EtcdServer, freePort } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import { StoreError, StoreUnavailableError } from "../../mod/store/errors.ts";
import { AmbiguousConfigError, openStore } from "../../mod/store/open.ts";
import type { EtcdOptions, EtcdStoreOptions } from "../../mod/store/options.ts";

const PREFIX = "/flannel/network";
const KEY = `${PREFIX}/config`;
const CONFIG = '{"Network":"10.20.0.0/16","Backend":{"Type":"vxlan"}}';
const LEASE = '{"PublicIP":"192.0.2.1"}';

/** An operator's writes to one etcd. */
interface Operator {
  readonly etcd: EtcdServer;
  putV2(key: string, value: string): Promise<void>;
  putV3(key: string, value: string): Promise<void>;
  /** Deletes all there is in both stores. */
  clear(): Promise<void>;
}

function operatorOf(etcd: EtcdServer): Operator {
  const gateway = new EtcdGateway(etcd);
  const keys = new EtcdKeys(etcd);
  return {
    etcd,
    putV2: (key, value) => keys.put(key, value),
    putV3: (key, value) => gateway.put(key, value),
    clear: async () => {
      await keys.deleteTree("/flannel");
      await gateway.deleteTree("/flannel");
    },
  };
}

function optionsFor(etcd: EtcdServer, more: Partial<EtcdOptions> = {}): EtcdStoreOptions {
  return { kind: "etcd", endpoints: [etcd.endpoint], prefix: PREFIX, api: "auto", ...more };
}

/** The API that `auto` takes, and the note about it. */
async function chosen(options: EtcdStoreOptions): Promise<{ api: string; note: string }> {
  const opened = await openStore(options);
  if (!("store" in opened)) throw new Error(`waiting: ${opened.waiting}`);
  await using store = opened.store;
  const { config } = await store.snapshot();
  assertEquals(config, { text: CONFIG });
  return { api: /^etcd (v\d) at/.exec(store.name)![1]!, note: opened.note };
}

async function waiting(options: EtcdStoreOptions): Promise<string> {
  const opened = await openStore(options);
  if ("store" in opened) {
    await opened.store[Symbol.asyncDispose]();
    throw new Error(opened.note);
  }
  return opened.waiting;
}

Deno.test("openStore() finds the config in either of etcd's stores", async (t) => {
  await using etcd = await EtcdServer.start();
  const { putV2, putV3, clear } = operatorOf(etcd);
  const options = optionsFor(etcd);

  await t.step("in neither", async () => {
    const line = await waiting(options);
    assert(/^100: Key not found \(\/flannel\) \[\d+\] \(etcd v2\); /.test(line), line);
    assertStringIncludes(line, `etcd v3, ${KEY}: no such key`);
    assertStringIncludes(line, `write the network config to ${KEY} of either`);
    assertStringIncludes(line, "-etcd-prefix");
    assert(!line.includes("\n"));
  });

  await t.step("in v2 alone", async () => {
    await putV2(KEY, CONFIG);
    assertEquals(await chosen(options), {
      api: "v2",
      note: `Network config found in etcd v2 (${KEY}); not in etcd v3`,
    });
    await clear();
  });

  await t.step("in v3 alone", async () => {
    await putV3(KEY, CONFIG);
    assertEquals(await chosen(options), {
      api: "v3",
      note: `Network config found in etcd v3 (${KEY}); not in etcd v2`,
    });
    await clear();
  });

  await t.step("in both, the same: v3", async () => {
    await putV2(KEY, CONFIG);
    await putV3(KEY, CONFIG);
    // Neither of these is a lease.
    await putV2(`${PREFIX}/subnets/foo`, LEASE);
    await putV3(`${PREFIX}/subnets/foo`, LEASE);
    assertEquals((await chosen(options)).api, "v3");
  });

  await t.step("in both, the same: the one with leases", async () => {
    await putV2(`${PREFIX}/subnets/10.20.1.0-24`, LEASE);
    const old = await chosen(options);
    assertEquals(old.api, "v2");
    assertStringIncludes(old.note, "which holds the leases");
    await putV3(`${PREFIX}/subnets/10.20.1.0-24`, LEASE);
    const both = await chosen(options);
    assertEquals(both.api, "v3");
    assertStringIncludes(both.note, "both hold leases");
  });

  await t.step("in both, different: an error that names both", async () => {
    await putV2(KEY, '{"Network":"10.30.0.0/16"}');
    const { message } = await assertRejects(() => openStore(options), AmbiguousConfigError);
    assertStringIncludes(message, `key ${KEY} of v2`);
    assertStringIncludes(message, `key ${KEY} of v3`);
    assertStringIncludes(message, "-etcd-api v2 or -etcd-api v3");
    for (const api of ["v2", "v3"] as const) {
      const opened = await openStore({ ...options, api });
      if (!("store" in opened)) throw new Error(opened.waiting);
      assertStringIncludes(opened.note, `Using etcd ${api} at ${etcd.endpoint}`);
      await opened.store[Symbol.asyncDispose]();
    }
  });
});

Deno.test("openStore() does without v2 where the server has none", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const options = optionsFor(etcd);
  const line = await waiting(options);
  assertEquals(
    line,
    `etcd v3, ${KEY}: no such key (it has no v2 API); write the network config to ${KEY}, or ` +
      "correct -etcd-prefix",
  );
  await operatorOf(etcd).putV3(KEY, CONFIG);
  const { api, note } = await chosen(options);
  assertEquals(api, "v3");
  assertEquals(note, `Network config found in etcd v3 (${KEY}); it has no v2 API`);
});

Deno.test("openStore() asks v3 by gRPC where the server has no gateway", async () => {
  await using etcd = await EtcdServer.start({ flags: ["--enable-grpc-gateway=false"] });
  const options = optionsFor(etcd);
  const line = await waiting(options);
  assertStringIncludes(line, "100: Key not found (/flannel)");
  assertStringIncludes(line, `etcd v3, ${KEY}: no such key`);
  await operatorOf(etcd).putV2(KEY, CONFIG);
  assertEquals((await chosen(options)).api, "v2");
  await operatorOf(etcd).clear().catch(() => {});
  const opened = await openStore({ ...options, api: "v3" });
  if (!("store" in opened)) throw new Error(opened.waiting);
  await opened.store[Symbol.asyncDispose]();
});

Deno.test("openStore() looks through TLS and past authentication", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "certificates-" });
  try {
    const certificates: Certificates = await makeCertificates(directory);
    await using etcd = await EtcdServer.start({ tls: { certificates, clientAuth: true } });
    const { ca, client } = certificates;
    const tls = { caFile: ca, certFile: client.cert, keyFile: client.key };
    const user = { username: "root", password: "S3cret" };

    await t.step("without users", async () => {
      await operatorOf(etcd).putV3(KEY, CONFIG);
      assertEquals((await chosen(optionsFor(etcd, tls))).api, "v3");
      // As with an agent whose options are ahead of the server.
      assertEquals((await chosen(optionsFor(etcd, { ...tls, ...user }))).api, "v3");
    });

    await t.step("with users in v3", async () => {
      await etcd.enableAuth("v3", user.password);
      assertEquals((await chosen(optionsFor(etcd, { ...tls, ...user }))).api, "v3");
      for (const wrong of [{}, { username: "root", password: "Wr0ng" }]) {
        const error = await assertRejects(
          () => openStore(optionsFor(etcd, { ...tls, ...wrong })),
          StoreError,
        );
        assert(!(error instanceof StoreUnavailableError));
        assertStringIncludes(error.message, "-etcd-username and -etcd-password");
        assert(!Deno.inspect(error, { depth: 9 }).includes("Wr0ng"));
      }
    });

    await t.step("with users in v3 and a config in v2", async () => {
      await operatorOf(etcd).putV2(KEY, CONFIG);
      const { api, note } = await chosen(optionsFor(etcd, tls));
      assertEquals(api, "v2");
      assertStringIncludes(note, "denies access without a user");
    });

    await t.step("with users in both", async () => {
      await etcd.enableAuth("v2", user.password);
      const { api, note } = await chosen(optionsFor(etcd, { ...tls, ...user }));
      assertEquals(api, "v3");
      assertStringIncludes(note, "found in etcd v2 and, the same, in etcd v3");
    });

    await t.step("not without the CA", async () => {
      await assertRejects(
        () => openStore(optionsFor(etcd, { ...tls, caFile: certificates.otherCa })),
        StoreUnavailableError,
        "-etcd-cafile",
      );
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("openStore() rejects when nobody answers, and names every endpoint", async () => {
  const endpoints = [`http://127.0.0.1:${freePort()}`, `http://127.0.0.1:${freePort()}`];
  const error = await assertRejects(
    () => openStore({ kind: "etcd", endpoints, prefix: PREFIX, api: "auto" }),
    StoreUnavailableError,
  );
  for (const endpoint of endpoints) assertStringIncludes(error.message, endpoint);
});

Deno.test("openStore() gives up with the signal's reason", async () => {
  await using etcd = await EtcdServer.start();
  await etcd.freeze(true);
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("enough")), 100);
  const started = performance.now();
  await assertRejects(
    () => openStore(optionsFor(etcd), { signal: controller.signal }),
    Error,
    "enough",
  );
  assert(performance.now() - started < 1_000);
  await etcd.freeze(false);
});

Deno.test("openStore() loads no gRPC for a config in v2", async () => {
  await using etcd = await EtcdServer.start();
  const { putV2, putV3 } = operatorOf(etcd);
  const script = `
    import { openStore } from "${import.meta.resolve("../../mod/store/open.ts")}";
    const { store } = await openStore(${JSON.stringify(optionsFor(etcd))});
    console.log(store.name);
    await store[Symbol.asyncDispose]();
  `;
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/main.ts`, script);
    const config = new URL(import.meta.resolve("../../deno.json")).pathname;
    // Without npm, gRPC cannot be loaded.
    const run = async () =>
      await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-npm", "--no-check", `--config=${config}`, `${directory}/main.ts`],
      }).output();
    await putV2(KEY, CONFIG);
    const v2 = await run();
    assertEquals(
      new TextDecoder().decode(v2.stdout),
      `etcd v2 at ${etcd.endpoint}, prefix ${PREFIX}\n`,
    );
    await new EtcdKeys(etcd).delete(KEY);
    await putV3(KEY, CONFIG);
    const v3 = await run();
    assert(!v3.success, "with the config in v3 it is loaded");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
