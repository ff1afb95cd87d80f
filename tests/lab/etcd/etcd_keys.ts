import type { EtcdServer } from "./etcd.ts";

/** Events that etcd v2 remembers (etcd 2.3, Documentation/api.md, "Watch from cleared event index"). */
const HISTORY = 1_000;

/** etcd's code for a key that is not there. */
const KEY_NOT_FOUND = 100;

/**
 * etcd v2 through its keys API, for an operator's etcdctl commands, without the client that is under
 * test.
 */
export class EtcdKeys {
  readonly #etcd: Pick<EtcdServer, "fetch">;

  constructor(etcd: Pick<EtcdServer, "fetch">) {
    this.#etcd = etcd;
  }

  /** @param ttl in seconds; without it the entry stays */
  async put(key: string, value: string, ttl?: number): Promise<void> {
    await this.#call("PUT", key, {
      form: ttl === undefined ? { value } : { value, ttl: `${ttl}` },
    });
  }

  async get(key: string): Promise<string | undefined> {
    return (await this.#call("GET", key)).node?.value;
  }

  async delete(key: string): Promise<void> {
    await this.#call("DELETE", key);
  }

  /** Deletes a directory and all that is in it, in one event. */
  async deleteTree(directory: string): Promise<void> {
    await this.#call("DELETE", directory, { query: "?recursive=true" });
  }

  async makeDirectory(key: string): Promise<void> {
    await this.#call("PUT", key, { query: "?dir=true" });
  }

  /** Makes etcd forget all history up to now, by changes of its own to other keys. */
  async loseHistory(): Promise<void> {
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let i = 0; i <= HISTORY / 8 + 5; i++) await this.put(`/noise/${writer}`, `${i}`);
    });
    await Promise.all(writers);
  }

  // deno-lint-ignore no-explicit-any
  async #call(method: string, key: string, { query = "", form }: CallDetails = {}): Promise<any> {
    const response = await this.#etcd.fetch(`/v2/keys${encodeURI(key)}${query}`, {
      method,
      ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    });
    const answer = await response.json();
    const isAbsent = method !== "PUT" && answer.errorCode === KEY_NOT_FOUND;
    if (!response.ok && !isAbsent) {
      throw new Error(`${method} ${key}${query}: ${JSON.stringify(answer)}`);
    }
    return answer;
  }
}

interface CallDetails {
  readonly query?: string;
  readonly form?: Readonly<Record<string, string>>;
}
