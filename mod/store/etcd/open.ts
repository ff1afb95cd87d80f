import type { OpenedKv, Waiting } from "../driver.ts";
import type { Kv } from "../kv/kv.ts";
import { directCandidate, v2Candidate, v3Candidate } from "./candidates.ts";
import { detectApi, type EtcdApi } from "./detect.ts";
import { EtcdHttp } from "./http.ts";
import type { EtcdOptions, EtcdStoreOptions } from "./options.ts";
import { readTlsFiles } from "./tls_files.ts";
import { EtcdV2Client } from "./v2/client.ts";
import { EtcdV3Gateway } from "./v3/gateway.ts";

/**
 * Opens etcd; with `auto` the API that holds the network config, or with `names` any network's.
 *
 * Only the chosen API is loaded: gRPC doubles the memory of an agent.
 *
 * @throws {ConfigError} when an endpoint or a TLS file cannot be used
 * @throws {AmbiguousConfigError} when both APIs hold a config, with different content
 * @throws {StoreUnavailableError} when no endpoint answers (`auto` only; the others connect later)
 * @throws {StoreError} when etcd refuses (`auto` only)
 */
export async function openEtcd(
  options: EtcdStoreOptions,
  names: boolean,
  signal: AbortSignal | undefined,
): Promise<OpenedKv<EtcdStoreOptions> | Waiting> {
  const detected = options.api === "auto"
    ? await detect(options, names, signal)
    : { api: options.api };
  if ("waiting" in detected) return detected;
  const { prefix } = options;
  const kv = await open(detected.api, options);
  const name = `${kv.name}, ${names ? "below" : "prefix"} ${prefix}`;
  const note = "note" in detected ? detected.note : `Using ${name}, as set by -etcd-api`;
  return { kv, prefix, name, note, options: { ...options, api: detected.api } };
}

async function detect(options: EtcdOptions, names: boolean, signal: AbortSignal | undefined) {
  const { prefix } = options;
  const tls = await readTlsFiles(options);
  await using opened = new AsyncDisposableStack();
  const http = opened.use(new EtcdHttp(options, tls));
  return await detectApi({
    // For the messages: the config of any network.
    prefix: names ? `${prefix}/*` : prefix,
    v2: v2Candidate(new EtcdV2Client(http), prefix, names),
    v3: v3Candidate(new EtcdV3Gateway(http), prefix, names),
    v3Directly: async () => directCandidate(opened.use(await open("v3", options)), prefix, names),
    signal,
  });
}

async function open(api: EtcdApi, options: EtcdOptions): Promise<Kv> {
  if (api === "v2") {
    const { openEtcdV2 } = await import("./v2/etcd_v2.ts");
    return await openEtcdV2(options);
  }
  const { openEtcdV3 } = await import("./v3/etcd_v3.ts");
  return await openEtcdV3(options);
}
