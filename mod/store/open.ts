import { storeCandidate, v2Candidate, v3Candidate } from "./etcd/candidates.ts";
import { detectApi, type Detection, type EtcdApi } from "./etcd/detect.ts";
import { EtcdHttp } from "./etcd/http.ts";
import { EtcdV2Client } from "./etcd/v2/client.ts";
import { EtcdV3Gateway } from "./etcd/v3/gateway.ts";
import type { EtcdOptions, StoreOptions } from "./options.ts";
import type { CallOptions, Store } from "./store.ts";
import { readTlsFiles } from "./etcd/tls_files.ts";

export { AmbiguousConfigError } from "./etcd/detect.ts";

/** What {@linkcode openStore} comes to. */
export type Opened =
  /** @property note a line for the log: which store, and why that one */
  | { readonly store: Store; readonly note: string }
  /** There is no config yet that would tell the store: a line that says what was found and what to do. */
  | { readonly waiting: string };

/** Options of {@linkcode openStore}. */
export interface OpenOptions extends CallOptions {
  /**
   * The store is only read. An embedded one can then be opened beside the agent that writes it; for
   * the others it makes no difference.
   *
   * @default false
   */
  readonly readOnly?: boolean;
  /**
   * The caller is the one process that an embedded store works in: leases run out in it, and it seeds
   * the config. For the others it makes no difference.
   *
   * @default false
   */
  readonly owner?: boolean;
}

/**
 * Opens the store that the options name; of etcd with `auto` the one of its two that holds the
 * network config.
 *
 * Only what is chosen is loaded: gRPC doubles the memory of an agent, and one on v2 never sees it.
 *
 * @throws {ConfigError} when an endpoint, a TLS file or a seed cannot be used
 * @throws {AmbiguousConfigError} when both stores of etcd hold a config, with different content
 * @throws {StoreUnavailableError} when no endpoint answers (`auto` only; the others connect later)
 * @throws {StoreError} when etcd refuses (`auto` only), or a file is not what it should be
 */
export async function openStore(
  options: StoreOptions,
  { signal, readOnly = false, owner = false }: OpenOptions = {},
): Promise<Opened> {
  switch (options.kind) {
    case "etcd":
      return await openEtcd(options, signal);
    case "embedded": {
      const { openEmbedded } = await import("./embedded/embedded.ts");
      const store = await openEmbedded(options, { readOnly, owner });
      return { store, note: `Using the ${store.name}` };
    }
    case "remote": {
      const { openRemote } = await import("./remote/remote.ts");
      const store = await openRemote(options);
      return { store, note: `Using the ${store.name}` };
    }
  }
}

async function openEtcd(options: EtcdOptions, signal: AbortSignal | undefined): Promise<Opened> {
  if (options.api !== "auto") {
    const store = await open(options.api, options);
    return { store, note: `Using ${store.name}, as -etcd-api says` };
  }
  const detection = await detect(options, signal);
  return "api" in detection
    ? { store: await open(detection.api, options), note: detection.note }
    : detection;
}

async function detect(options: EtcdOptions, signal: AbortSignal | undefined): Promise<Detection> {
  const tls = await readTlsFiles(options);
  await using opened = new AsyncDisposableStack();
  const http = opened.use(new EtcdHttp(options, tls));
  return await detectApi({
    prefix: options.prefix,
    v2: v2Candidate(new EtcdV2Client(http), options.prefix),
    v3: v3Candidate(new EtcdV3Gateway(http), options.prefix),
    v3Directly: async () => storeCandidate(opened.use(await open("v3", options))),
    signal,
  });
}

async function open(api: EtcdApi, options: EtcdOptions): Promise<Store> {
  if (api === "v2") {
    const { openEtcdV2 } = await import("./etcd/v2/etcd_v2.ts");
    return await openEtcdV2(options);
  }
  const { openEtcdV3 } = await import("./etcd/v3/etcd_v3.ts");
  return await openEtcdV3(options);
}
