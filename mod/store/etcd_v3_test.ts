import { type Certificates, makeCertificates } from "../../tests/lab/certificates.ts";
import { EtcdServer } from "../../tests/lab/etcd.ts";
import { openEtcdV3 } from "./etcd_v3.ts";
import { storeCases } from "./store_cases.ts";
import type { StoreLab, StoreLabOptions } from "./store_lab.ts";

storeCases("etcd v3", makeLab);

/** A real etcd, and its JSON gateway for what others than the store do. */
async function makeLab(options: StoreLabOptions = {}): Promise<StoreLab> {
  let certificates: Certificates | undefined;
  if (options.tls !== undefined) {
    certificates = await makeCertificates(await Deno.makeTempDir({ prefix: "certificates-" }));
  }
  const etcd = await EtcdServer.start({
    v2: false,
    ...(certificates === undefined
      ? {}
      : { tls: { certificates, clientAuth: options.tls === "client" } }),
  });
  if (options.password !== undefined) await etcd.enableAuth("v3", options.password);

  const send = async (path: string, request: Record<string, unknown>) => {
    const response = await etcd.fetch(`/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const put = async (name: string, text: string, ttl?: number) => {
    const lease = ttl === undefined ? {} : { lease: (await send("lease/grant", { TTL: ttl })).ID };
    await send("kv/put", { key: toBase64(name), value: toBase64(text), ...lease });
  };
  return {
    endpoint: etcd.endpoint,
    ...(certificates === undefined ? {} : { certificates }),
    open: (prefix, overrides) =>
      openEtcdV3(
        { endpoints: [etcd.endpoint], prefix, api: "v3", ...overrides },
        { heartbeat: 3_000 },
      ),
    put,
    get: async (key) => {
      const { kvs } = await send("kv/range", { key: toBase64(key) });
      return kvs === undefined ? undefined : fromBase64(kvs[0].value ?? "");
    },
    delete: (key) => send("kv/deleterange", { key: toBase64(key) }),
    deleteTree: async (key) => {
      await send("kv/deleterange", { key: toBase64(`${key}/`), range_end: toBase64(`${key}0`) });
      await send("kv/deleterange", { key: toBase64(key) });
    },
    makeEmpty: (key) => put(key, ""),
    loseHistory: async () => {
      await put("/noise", "");
      const { header } = await send("kv/range", { key: toBase64("/noise") });
      await send("kv/compaction", { revision: header.revision, physical: true });
    },
    stop: () => etcd.stop(),
    resume: () => etcd.resume(),
    wipe: () => etcd.restart({ wipe: true }),
    freeze: (on) => etcd.freeze(on),
    [Symbol.asyncDispose]: async () => {
      await etcd[Symbol.asyncDispose]();
      if (certificates !== undefined) {
        await Deno.remove(certificates.directory, { recursive: true });
      }
    },
  };
}

/** The gateway takes bytes in base64. */
function toBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function fromBase64(text: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)));
}
