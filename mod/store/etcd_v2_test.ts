import { type Certificates, makeCertificates } from "../../tests/lab/certificates.ts";
import { EtcdServer } from "../../tests/lab/etcd.ts";
import { openEtcdV2 } from "./etcd_v2.ts";
import { storeCases } from "./store_cases.ts";
import type { StoreLab, StoreLabOptions } from "./store_lab.ts";

storeCases("etcd v2", makeLab);

/** A real etcd, and etcd v2's own API for what others than the store do. */
async function makeLab(options: StoreLabOptions = {}): Promise<StoreLab> {
  let certificates: Certificates | undefined;
  if (options.tls !== undefined) {
    certificates = await makeCertificates(await Deno.makeTempDir({ prefix: "certificates-" }));
  }
  const etcd = await EtcdServer.start(
    certificates === undefined
      ? {}
      : { tls: { certificates, clientAuth: options.tls === "client" } },
  );
  if (options.password !== undefined) await etcd.enableAuth("v2", options.password);

  const send = async (method: string, path: string, form?: Record<string, string>) => {
    const response = await etcd.fetch(`/v2/keys${path}`, {
      method,
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    });
    const answer = await response.json();
    if (!response.ok && answer.errorCode !== 100) {
      throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    }
    return answer;
  };
  return {
    endpoint: etcd.endpoint,
    ...(certificates === undefined ? {} : { certificates }),
    open: (prefix, overrides) =>
      openEtcdV2({ endpoints: [etcd.endpoint], prefix, api: "v2", ...overrides }),
    put: (key, value, ttl) =>
      send("PUT", key, ttl === undefined ? { value } : { value, ttl: String(ttl) }),
    get: async (key) => (await send("GET", key)).node?.value,
    delete: (key) => send("DELETE", key),
    deleteTree: (key) => send("DELETE", `${key}?recursive=true`),
    makeEmpty: (key) => send("PUT", `${key}?dir=true`),
    loseHistory: async () => {
      const writers = Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; i < 130; i++) await send("PUT", `/noise/${writer}`, { value: `${i}` });
      });
      await Promise.all(writers);
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
