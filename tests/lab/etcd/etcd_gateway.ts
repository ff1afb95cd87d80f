import type { EtcdServer } from "./etcd.ts";

/** An etcd lease in the gateway's format. */
export interface GatewayLease {
  readonly ID: string;
  /** Keys that the lease holds. */
  readonly keys: readonly string[];
  /** Seconds left, rounded down. */
  readonly TTL: number;
}

/**
 * etcd v3 through its JSON gateway, for an operator's etcdctl commands, without the client that is
 * under test.
 */
export class EtcdGateway {
  readonly #etcd: Pick<EtcdServer, "fetch">;

  constructor(etcd: Pick<EtcdServer, "fetch">) {
    this.#etcd = etcd;
  }

  /**
   * Makes a call.
   *
   * @param path below `/v3/`: `kv/range`
   * @throws {Error} with etcd's answer when that is not a success
   */
  // deno-lint-ignore no-explicit-any
  async call(path: string, request: unknown = {}): Promise<any> {
    const response = await this.#etcd.fetch(`/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** @param ttl in seconds; without it the entry stays */
  async put(key: string, value: string, ttl?: number): Promise<void> {
    const lease = ttl === undefined
      ? {}
      : { lease: (await this.call("lease/grant", { TTL: ttl })).ID };
    await this.call("kv/put", { key: toBase64(key), value: toBase64(value), ...lease });
  }

  /** Puts all entries, 100 at a time: etcd takes 128 operations in a transaction. */
  async putAll(entries: Iterable<readonly [key: string, value: string]>): Promise<void> {
    const puts = Array.from(entries, ([key, value]) => ({
      request_put: { key: toBase64(key), value: toBase64(value) },
    }));
    for (let i = 0; i < puts.length; i += 100) {
      await this.call("kv/txn", { success: puts.slice(i, i + 100) });
    }
  }

  async get(key: string): Promise<string | undefined> {
    const { kvs } = await this.call("kv/range", { key: toBase64(key) });
    return kvs === undefined ? undefined : fromBase64(kvs[0].value ?? "");
  }

  async delete(key: string): Promise<void> {
    await this.call("kv/deleterange", { key: toBase64(key) });
  }

  /** Deletes every key below `directory + "/"`, at once. */
  async deleteTree(directory: string): Promise<void> {
    const range = { key: toBase64(`${directory}/`), range_end: toBase64(`${directory}0`) };
    await this.call("kv/deleterange", range);
  }

  /** Makes etcd forget all history up to now, by a change of its own to some other key. */
  async compact(): Promise<void> {
    const { header } = await this.call("kv/put", { key: toBase64("/noise"), value: "" });
    await this.call("kv/compaction", { revision: header.revision, physical: true });
  }

  /** All etcd leases there are. */
  async leases(): Promise<GatewayLease[]> {
    const { leases = [] } = await this.call("lease/leases");
    return await Promise.all(leases.map(async ({ ID }: { ID: string }) => {
      const { keys = [], TTL = "0" } = await this.call("lease/timetolive", { ID, keys: true });
      return { ID, keys: keys.map(fromBase64), TTL: Number(TTL) };
    }));
  }
}

/** The gateway takes bytes in base64. */
function toBase64(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function fromBase64(text: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)));
}
