import { StoreError, StoreUnavailableError } from "../errors.ts";

/** Which of etcd's two stores: separate data behind the same address. */
export type EtcdApi = "v2" | "v3";

/** Result of one of the two stores, read for the network config. */
export type Finding =
  | { readonly type: "config"; readonly text: string }
  /** It is there, but holds none: its own words. */
  | { readonly type: "missing"; readonly words: string }
  /**
   * The server does not have this store, and why that is thought.
   *
   * @property isPlain it has no such path, which is the whole reason once the other store has answered
   */
  | { readonly type: "absent"; readonly why: string; readonly isPlain?: boolean }
  /** It may be there, but cannot be asked in this way. */
  | { readonly type: "unasked"; readonly why: string }
  /** It does not let us in. */
  | { readonly type: "refused"; readonly error: StoreError };

/** One of the two stores, as far as choosing between them needs it. */
export interface Candidate {
  /** @throws {StoreUnavailableError} when it does not answer */
  findConfig(signal: AbortSignal | undefined): Promise<Finding>;
  holdsLeases(signal: AbortSignal | undefined): Promise<boolean>;
}

/** The outcome of {@linkcode detectApi}. */
export type Detection =
  /** Found. @property note a line for the log: the place */
  | { readonly api: EtcdApi; readonly note: string }
  /** Not found yet: a line with the searched places and the next step. */
  | { readonly waiting: string };

/** Options of {@linkcode detectApi}. */
export interface DetectOptions {
  readonly prefix: string;
  readonly v2: Candidate;
  readonly v3: Candidate;
  /**
   * Another way to ask v3, which costs more: for where it could not be asked, and for where `v3` is
   * absent and v2 has no config.
   *
   * @default there is none
   */
  readonly v3Directly?: () => Promise<Candidate>;
  readonly signal?: AbortSignal | undefined;
}

/** The two stores hold different network configs. Only an operator can decide which one counts. */
export class AmbiguousConfigError extends StoreError {
  override readonly name = "AmbiguousConfigError";
}

/**
 * Finds the store that holds the network config.
 *
 * etcd's v2 and v3 stores know nothing of each other, and a config written to the one with flannel
 * reading the other is the commonest mistake there is.
 *
 * @throws {AmbiguousConfigError} when both hold one, with different content
 * @throws {StoreUnavailableError} when one of them does not answer: it may hold the config that counts
 * @throws {StoreError} when neither shows one and one of them refuses to be read
 */
export async function detectApi(options: DetectOptions): Promise<Detection> {
  const { prefix, signal } = options;
  const key = `${prefix}/config`;
  let [v2, v3] = await Promise.all([
    options.v2.findConfig(signal),
    options.v3.findConfig(signal),
  ]);
  let v3Candidate = options.v3;
  const direct = v3.type === "unasked" || (v3.type === "absent" && v2.type !== "config")
    ? await options.v3Directly?.()
    : undefined;
  if (direct !== undefined) {
    v3Candidate = direct;
    v3 = await findDirectly(direct, v2, v3, signal);
  }
  if (v2.type === "config" && v3.type === "config") {
    if (!sameJson(v2.text, v3.text)) {
      throw new AmbiguousConfigError(
        `the network config is in both of etcd's stores, and not the same: key ${key} of v2 and ` +
          `key ${key} of v3 differ; choose with -etcd-api v2 or -etcd-api v3, or delete one`,
      );
    }
    const [old, current] = await Promise.all([
      options.v2.holdsLeases(signal),
      v3Candidate.holdsLeases(signal),
    ]);
    const same = `Network config found in etcd v2 and, the same, in etcd v3 (${key})`;
    if (old && !current) return { api: "v2", note: `${same}; taking v2, which holds the leases` };
    return {
      api: "v3",
      note: old
        ? `${same}; taking v3 although both hold leases: hosts in the one see none in the other`
        : `${same}; taking v3${current ? ", which holds the leases" : ""}`,
    };
  }
  if (v2.type === "config") {
    return { api: "v2", note: `Network config found in etcd v2 (${key}); ${other("v3", v3)}` };
  }
  if (v3.type === "config") {
    return { api: "v3", note: `Network config found in etcd v3 (${key}); ${other("v2", v2)}` };
  }
  const both = v2.type === "absent" && v2.isPlain && v3.type === "missing"
    ? `${words("v3", v3)} (${NO_V2})`
    : `${words("v2", v2)}; ${words("v3", v3)}`;
  if (v2.type === "refused" || v3.type === "refused") {
    throw new StoreError(both, {
      cause: v2.type === "refused" ? v2.error : v3.type === "refused" ? v3.error : undefined,
    });
  }
  if (v2.type !== "missing" && v3.type !== "missing") {
    throw new StoreError(`${both}; correct -etcd-endpoints`);
  }
  const place = v2.type === "missing" && v3.type === "missing" ? `${key} of either` : key;
  return { waiting: `${both}; write the network config to ${place}, or correct -etcd-prefix` };
}

/** Describes an etcd from 3.4 on that runs without `--enable-v2`, which is no error. */
const NO_V2 = "it has no v2 API";

async function findDirectly(
  direct: Candidate,
  v2: Finding,
  v3: Finding,
  signal: AbortSignal | undefined,
): Promise<Finding> {
  try {
    return await direct.findConfig(signal);
  } catch (error) {
    // An etcd that has answered for v2 is there; it is one from before v3.
    if (error instanceof StoreUnavailableError && v2.type !== "absent") return v3;
    throw error;
  }
}

/** Describes the store that was not chosen. */
function other(api: EtcdApi, finding: Finding): string {
  if (api === "v2" && finding.type === "absent" && finding.isPlain) return NO_V2;
  return finding.type === "missing" ? `not in etcd ${api}` : words(api, finding);
}

/** Describes a result, the store's own message first: runbooks look for it. */
function words(api: EtcdApi, finding: Finding): string {
  switch (finding.type) {
    case "config":
      return `found in etcd ${api}`;
    case "missing":
      // v3 has no message of its own; that of flanneld names it.
      return api === "v3" ? finding.words : `${finding.words} (etcd v2)`;
    case "absent":
      return `no etcd ${api} there (${finding.why})`;
    case "unasked":
      return `etcd ${api} cannot be asked (${finding.why})`;
    case "refused":
      return `${finding.error.message} (etcd ${api})`;
  }
}

/** True when two texts are the same config, however it is spaced. */
function sameJson(a: string, b: string): boolean {
  const normal = (text: string) => {
    try {
      return JSON.stringify(JSON.parse(text));
    } catch {
      return text.trim();
    }
  };
  return normal(a) === normal(b);
}
