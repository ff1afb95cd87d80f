import { Deadline } from "../deadline.ts";
import { EndpointFailure, EtcdHttp, unanswered } from "./http.ts";
import type { EtcdOptions } from "./options.ts";
import type { CallOptions } from "../kv/kv.ts";
import { readTlsFiles } from "./tls_files.ts";

/** Milliseconds until it must have answered. */
const TIMEOUT = 5_000;

/** Difference between this host's clock and that of an etcd member. */
export interface ClockDifference {
  /** URL of the member. */
  readonly endpoint: string;
  /**
   * Its clock less this host's, in milliseconds: between these two. HTTP's Date has whole seconds, and the
   * answer was under way for a while.
   */
  readonly least: number;
  readonly most: number;
}

/**
 * Compares this host's clock with that of an etcd member, by the Date of an answer (RFC 9110 6.6.1).
 *
 * @returns `undefined` when the answer has none
 * @throws {StoreError} when no endpoint answers
 * @throws {ConfigError} when an endpoint or a TLS file cannot be used
 */
export async function compareClock(
  options: EtcdOptions,
  { signal }: CallOptions = {},
): Promise<ClockDifference | undefined> {
  using http = new EtcdHttp(options, await readTlsFiles(options));
  return await http.atSomeEndpoint(signal, async (endpoint) => {
    using deadline = new Deadline(TIMEOUT, unanswered(TIMEOUT), signal, http.closed, http.dropped);
    const asked = Date.now();
    const response = await http.fetch(
      endpoint,
      { method: "GET", path: "/version" },
      deadline.signal,
    );
    const answered = Date.now();
    await response.body?.cancel();
    if (!response.ok) {
      throw new EndpointFailure(`client: ${endpoint.url} answers with HTTP ${response.status}`);
    }
    const date = Date.parse(response.headers.get("date") ?? "");
    if (Number.isNaN(date)) return undefined;
    return { endpoint: endpoint.url, least: date - answered, most: date + 1000 - asked };
  });
}
