import { findingOfGateway } from "./etcd/candidates.ts";
import { type Candidate, detectApi, type EtcdApi, type Finding } from "./etcd/detect.ts";
import { StoreError, StoreUnavailableError } from "./errors.ts";
import { EtcdHttp } from "./etcd/http.ts";
import { EtcdV2Client, EtcdV2Error } from "./etcd/v2/client.ts";
import { EtcdV3Gateway } from "./etcd/v3/gateway.ts";
import { NameReader, type NetworkNames } from "./networks.ts";
import { listNames } from "./etcd/v2/networks.ts";
import type { OpenOptions } from "./open.ts";
import type { EtcdOptions, StoreOptions } from "./options.ts";
import { readTlsFiles } from "./etcd/tls_files.ts";

/** Children of the prefix that are looked through for networks. */
const ENOUGH = 1_000;

/** What {@linkcode openNetworkNames} comes to. */
export type NamesOpened =
  /**
   * @property store the options for the store that the names are of
   * @property note a line for the log: which store, and why that one
   */
  | { readonly names: NetworkNames; readonly store: StoreOptions; readonly note: string }
  /** There is no network yet that would tell the store: a line that says what was found. */
  | { readonly waiting: string };

/**
 * Opens the names of the networks in a store; of etcd with `auto` in the one of its two that holds
 * networks.
 *
 * @throws {ConfigError} when an endpoint or a TLS file cannot be used
 * @throws {AmbiguousConfigError} when both stores of etcd hold networks, and not the same
 * @throws {StoreUnavailableError} when no endpoint answers (`auto` only; the others connect later)
 * @throws {StoreError} when etcd refuses (`auto` only)
 */
export async function openNetworkNames(
  options: StoreOptions,
  { signal, readOnly = false, owner = false }: OpenOptions = {},
): Promise<NamesOpened> {
  switch (options.kind) {
    case "etcd": {
      if (options.api !== "auto") {
        const names = await openEtcdNames(options.api, options);
        return { names, store: options, note: `Using ${names.name}, as -etcd-api says` };
      }
      const found = await detectEtcd(options, signal);
      if ("waiting" in found) return found;
      const names = await openEtcdNames(found.api, options);
      return { names, store: { ...options, api: found.api }, note: found.note };
    }
    case "embedded": {
      const { openEmbeddedNames } = await import("./embedded/networks.ts");
      const names = openEmbeddedNames(options, { readOnly, owner });
      return { names, store: options, note: `Using the ${names.name}` };
    }
    case "remote": {
      const { openRemoteNames } = await import("./remote/networks.ts");
      const names = await openRemoteNames(options);
      return { names, store: options, note: `Using the ${names.name}` };
    }
  }
}

async function openEtcdNames(api: EtcdApi, options: EtcdOptions): Promise<NetworkNames> {
  if (api === "v2") {
    const { openEtcdV2Names } = await import("./etcd/v2/networks.ts");
    return await openEtcdV2Names(options);
  }
  const { openEtcdV3Names } = await import("./etcd/v3/networks.ts");
  return await openEtcdV3Names(options);
}

async function detectEtcd(options: EtcdOptions, signal: AbortSignal | undefined) {
  const tls = await readTlsFiles(options);
  await using opened = new AsyncDisposableStack();
  const http = opened.use(new EtcdHttp(options, tls));
  const reader = new NameReader(options.prefix);
  return await detectApi({
    // For the messages: the config of any network.
    prefix: `${options.prefix}/*`,
    v2: v2Candidate(new EtcdV2Client(http), reader),
    v3: v3Candidate(new EtcdV3Gateway(http), reader),
    v3Directly: async () => directCandidate(opened.use(await openEtcdNames("v3", options))),
    signal,
  });
}

/** The names stand for the configs: two stores with the same networks are taken for copies. */
function finding(names: readonly string[], prefix: string): Finding {
  return names.length > 0
    ? { type: "config", text: names.toSorted().join("\n") }
    : { type: "missing", words: `there is no network below ${prefix}` };
}

function v2Candidate(client: EtcdV2Client, reader: NameReader): Candidate {
  return {
    async findConfig(signal) {
      try {
        return finding((await listNames(client, reader, signal)).names, reader.prefix);
      } catch (error) {
        if (error instanceof StoreUnavailableError || !(error instanceof StoreError)) throw error;
        return error instanceof EtcdV2Error
          ? { type: "refused", error }
          : { type: "absent", why: error.message };
      }
    },
    async holdsLeases(signal) {
      let found = false;
      await client.list(reader.prefix, () => ({ key, dir }) => {
        found ||= !dir && key.includes("/subnets/");
      }, signal);
      return found;
    },
  };
}

function v3Candidate(gateway: EtcdV3Gateway, reader: NameReader): Candidate {
  const { prefix } = reader;
  const end = `${prefix}0`;
  return {
    async findConfig(signal) {
      try {
        const names: string[] = [];
        let key = `${prefix}/`;
        for (let i = 0; i < ENOUGH; i++) {
          const [found] = await gateway.range({ key, rangeEnd: end, limit: 1 }, signal);
          if (found === undefined) break;
          const child = found.key.slice(prefix.length + 1).split("/", 1)[0]!;
          const directory = `${prefix}/${child}`;
          key = found.key === directory ? `${directory}\0` : `${directory}0`;
          const network = reader.networkAt(directory);
          if (network === undefined) continue;
          const config = await gateway.range({ key: reader.configKey(network) }, signal);
          if (config.length > 0) names.push(network);
        }
        return finding(names, prefix);
      } catch (error) {
        return findingOfGateway(error);
      }
    },
    async holdsLeases(signal) {
      const range = { key: `${prefix}/`, rangeEnd: end, limit: ENOUGH };
      return (await gateway.range(range, signal)).some(({ key }) => key.includes("/subnets/"));
    },
  };
}

/** By what an agent uses: gRPC. */
function directCandidate(names: NetworkNames): Candidate {
  return {
    async findConfig(signal) {
      try {
        return finding((await names.snapshot(signal && { signal })).names, names.name);
      } catch (error) {
        if (error instanceof StoreUnavailableError || !(error instanceof StoreError)) throw error;
        return { type: "refused", error };
      }
    },
    // Told neither way: v3 is taken where both stores hold the same networks.
    holdsLeases: () => Promise.resolve(true),
  };
}
