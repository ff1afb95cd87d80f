import { type Certificates, makeCertificates } from "../../../tests/lab/certificates.ts";
import { EtcdServer } from "../../../tests/lab/etcd/etcd.ts";
import { EtcdGateway } from "../../../tests/lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../../../tests/lab/etcd/etcd_keys.ts";
import { openEtcdV2 } from "./open_lab.ts";
import { openEtcdV3 } from "./open_lab.ts";
import type { ServedLab, StoreLabOptions } from "./store_lab.ts";

/** A real etcd, and etcd v2's own API for what others than the store do. */
export async function makeEtcdV2Lab(options: StoreLabOptions = {}): Promise<ServedLab> {
  const { etcd, server } = await startServer("v2", options);
  const keys = new EtcdKeys(etcd);
  return {
    ...server,
    open: (prefix, overrides) =>
      openEtcdV2({ endpoints: [etcd.endpoint], prefix, api: "v2", ...overrides }),
    put: (key, value, ttl) => keys.put(key, value, ttl),
    get: (key) => keys.get(key),
    delete: (key) => keys.delete(key),
    deleteTree: (key) => keys.deleteTree(key),
    makeEmpty: (key) => keys.makeDirectory(key),
    loseHistory: () => keys.loseHistory(),
  };
}

/** A real etcd, and its JSON gateway for what others than the store do. */
export async function makeEtcdV3Lab(options: StoreLabOptions = {}): Promise<ServedLab> {
  const { etcd, server } = await startServer("v3", options);
  const gateway = new EtcdGateway(etcd);
  return {
    ...server,
    open: (prefix, overrides) =>
      openEtcdV3({ endpoints: [etcd.endpoint], prefix, api: "v3", ...overrides }),
    put: (key, value, ttl) => gateway.put(key, value, ttl),
    get: (key) => gateway.get(key),
    delete: (key) => gateway.delete(key),
    deleteTree: async (key) => {
      await gateway.deleteTree(key);
      await gateway.delete(key);
    },
    makeEmpty: (key) => gateway.put(key, ""),
    loseHistory: () => gateway.compact(),
  };
}

/** Control of the server, the same in a lab of either API. */
type ServerOfLab =
  & Pick<ServedLab, "endpoint" | "certificates" | "stop" | "resume" | "wipe" | "freeze">
  & AsyncDisposable;

async function startServer(
  api: "v2" | "v3",
  options: StoreLabOptions,
): Promise<{ etcd: EtcdServer; server: ServerOfLab }> {
  let certificates: Certificates | undefined;
  if (options.tls !== undefined) {
    certificates = await makeCertificates(await Deno.makeTempDir({ prefix: "certificates-" }));
  }
  const etcd = await EtcdServer.start({
    v2: api === "v2",
    ...(certificates === undefined
      ? {}
      : { tls: { certificates, clientAuth: options.tls === "client" } }),
  });
  if (options.password !== undefined) await etcd.enableAuth(api, options.password);
  const server: ServerOfLab = {
    endpoint: etcd.endpoint,
    ...(certificates === undefined ? {} : { certificates }),
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
  return { etcd, server };
}
