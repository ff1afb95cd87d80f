import type { EtcdApi } from "./detect.ts";
import { StoreError } from "../errors.ts";
import { EtcdHttp } from "./http.ts";
import { EtcdV2Client } from "./v2/client.ts";
import { EtcdV3Gateway } from "./v3/gateway.ts";
import type { EtcdOptions } from "./options.ts";
import type { CallOptions } from "../kv/kv.ts";
import { readTlsFiles } from "./tls_files.ts";

/** Keys of v3 that are looked through: an etcd may hold much else. */
const MOST_KEYS = 50_000;

/** A network config, wherever it is. */
export interface FoundConfig {
  readonly api: EtcdApi;
  /** The value that `-etcd-prefix` needs. */
  readonly prefix: string;
  readonly text: string;
}

/**
 * Looks through both of etcd's stores for network configs under any prefix: what was probably meant
 * by one that holds none. A store that is not there, or does not let us read all of it, holds none.
 *
 * Cost: a listing of all keys. For people, when something is wrong.
 *
 * @throws {ConfigError} when an endpoint or a TLS file cannot be used
 * @throws the signal's reason when it aborts
 */
export async function findConfigs(
  options: EtcdOptions,
  { signal }: CallOptions = {},
): Promise<FoundConfig[]> {
  using http = new EtcdHttp(options, await readTlsFiles(options));
  const searches: Promise<FoundConfig[]>[] = [
    searchV2(new EtcdV2Client(http), signal),
    searchV3(new EtcdV3Gateway(http), signal),
  ];
  const found = await Promise.all(searches.map((search) =>
    search.catch((error): FoundConfig[] => {
      if (error instanceof StoreError) return [];
      throw error;
    })
  ));
  return found.flat();
}

async function searchV2(
  client: EtcdV2Client,
  signal: AbortSignal | undefined,
): Promise<FoundConfig[]> {
  let found: FoundConfig[] = [];
  await client.list("", () => {
    found = [];
    return ({ key, value = "" }) => take(found, "v2", key, value);
  }, signal);
  return found;
}

async function searchV3(
  gateway: EtcdV3Gateway,
  signal: AbortSignal | undefined,
): Promise<FoundConfig[]> {
  // From the first key there can be to the last.
  const all = { key: "\0", rangeEnd: "\0", limit: MOST_KEYS, keysOnly: true };
  const keys = (await gateway.range(all, signal)).map(({ key }) => key);
  const found: FoundConfig[] = [];
  for (const key of keys.filter((key) => key.endsWith(SUFFIX))) {
    for (const { value } of await gateway.range({ key }, signal)) take(found, "v3", key, value);
  }
  return found;
}

const SUFFIX = "/config";

/** Takes an entry that looks like a network config: JSON with a Network. */
function take(found: FoundConfig[], api: EtcdApi, key: string, text: string): void {
  if (!key.endsWith(SUFFIX)) return;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return;
  }
  const isConfig = typeof value === "object" && value !== null &&
    Object.keys(value).some((member) => member.toLowerCase() === "network");
  if (isConfig) found.push({ api, prefix: key.slice(0, -SUFFIX.length), text });
}
