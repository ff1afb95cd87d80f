import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import {
  type Lease,
  type LeaseAttributes,
  type LeaseForm,
  leaseKey,
  type NodeRecord,
  type StoredNodeRecord,
} from "../../lease/mod.ts";
import { AccessError, ConflictError, StoreError, StoreUnavailableError } from "../errors.ts";
import {
  decodeAgent,
  decodeLease,
  decodePoll,
  decodeSnapshot,
  encodeAgentPut,
  encodeConfigPut,
  encodeLeasePut,
  GONE,
  HELD_POLL,
} from "./extension.ts";
import type { RemoteHttp, RemoteRequest } from "./http.ts";
import { decodeAnswer, type PollResult, type RemoteSession } from "./session.ts";
import type { CallOptions, Cursor, Snapshot } from "../store.ts";

/** Milliseconds beyond the server's limit that a poll is waited for. */
const POLL_SLACK = 10_000;

/** The server does not serve whole stores (any more): a flannel, or an address of something else. */
export class NotOursError extends StoreError {
  override readonly name = "NotOursError";
}

/** Speaks with a server of ours, which serves all that its store has. */
export class WholeSession implements RemoteSession {
  /** Of the server's store, once that is known. */
  leaseForm: LeaseForm = "v0.7";
  readonly #http: RemoteHttp;
  readonly #base: string;

  constructor(http: RemoteHttp, network: string) {
    this.#http = http;
    this.#base = `/v1/${network}/store`;
  }

  /** True when the server serves whole stores. */
  async isServed({ signal }: CallOptions): Promise<boolean> {
    try {
      await this.#ask({ method: "GET", path: "/version", signal });
      return true;
    } catch (error) {
      if (error instanceof NotOursError) return false;
      throw error;
    }
  }

  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    return this.#took(
      decodeAnswer(await this.#ask({ method: "GET", path: "", signal }), decodeSnapshot),
    );
  }

  async poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult> {
    const path = `?next=${encodeURIComponent(cursor)}`;
    const timeout = HELD_POLL + POLL_SLACK;
    const answer = decodeAnswer(
      await this.#ask({ method: "GET", path, signal, timeout }),
      decodePoll,
    );
    if ("snapshot" in answer) this.#took(answer.snapshot);
    return answer;
  }

  async lease(subnet: Prefix, { signal }: CallOptions = {}): Promise<Lease | undefined> {
    const text = await this.#read(`/leases/${leaseKey(subnet)}`, signal);
    return text === undefined ? undefined : decodeAnswer(text, decodeLease);
  }

  async createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    { signal }: CallOptions = {},
  ): Promise<Lease> {
    return await this.#putLease(subnet, encodeLeasePut({ attributes, ttl }), signal);
  }

  async updateLease(
    { subnet, revision }: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    { signal }: CallOptions = {},
  ): Promise<Lease> {
    return await this.#putLease(subnet, encodeLeasePut({ attributes, ttl, revision }), signal);
  }

  async removeLease({ subnet, revision }: Lease, { signal }: CallOptions = {}): Promise<void> {
    const path = `/leases/${leaseKey(subnet)}?revision=${encodeURIComponent(revision)}`;
    await this.#ask({ method: "DELETE", path, signal });
  }

  async agent(
    publicIP: IPv4,
    { signal }: CallOptions = {},
  ): Promise<StoredNodeRecord | undefined> {
    const text = await this.#read(`/agents/${formatIPv4(publicIP)}`, signal);
    return text === undefined ? undefined : decodeAnswer(text, decodeAgent);
  }

  async putAgent(
    publicIP: IPv4,
    record: NodeRecord,
    ttl: number,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<StoredNodeRecord> {
    const body = encodeAgentPut({
      ...{ record, ttl },
      ...(expected === undefined ? {} : { revision: expected }),
    });
    const path = `/agents/${formatIPv4(publicIP)}`;
    return decodeAnswer(await this.#ask({ method: "PUT", path, body, signal }), decodeAgent);
  }

  async removeAgent(
    { publicIP, revision }: StoredNodeRecord,
    { signal }: CallOptions = {},
  ): Promise<void> {
    const path = `/agents/${formatIPv4(publicIP)}?revision=${encodeURIComponent(revision)}`;
    await this.#ask({ method: "DELETE", path, signal });
  }

  async putConfig(
    text: string,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<void> {
    const body = encodeConfigPut({ text, ...(expected === undefined ? {} : { expected }) });
    await this.#ask({ method: "PUT", path: "/config", body, signal });
  }

  async removeConfig(expected: string, { signal }: CallOptions = {}): Promise<void> {
    const body = encodeConfigPut({ expected });
    await this.#ask({ method: "DELETE", path: "/config", body, signal });
  }

  async #putLease(
    subnet: Prefix,
    body: string,
    signal: AbortSignal | undefined,
  ): Promise<Lease> {
    const path = `/leases/${leaseKey(subnet)}`;
    return decodeAnswer(await this.#ask({ method: "PUT", path, body, signal }), decodeLease);
  }

  /** Reads an entry; `undefined` when there is none. */
  async #read(path: string, signal: AbortSignal | undefined): Promise<string | undefined> {
    const text = await this.#ask({ method: "GET", path, signal });
    return text === GONE ? undefined : text;
  }

  async #ask(request: RemoteRequest): Promise<string> {
    const { status, text } = await this.#http.request({
      ...request,
      path: this.#base + request.path,
    });
    if (status === 200 || (status === 404 && text === GONE)) return text;
    const words = text.trim().slice(0, 500);
    switch (status) {
      case 404:
        throw new NotOursError(`the server of -remote answers ${status}: ${words}`);
      case 401:
      case 403:
        throw new AccessError(`the server of -remote refuses this: ${words}`);
      case 409:
        throw new ConflictError(words);
      // A proxy before it says 502 or 504.
      case 502:
      case 503:
      case 504:
        throw new StoreUnavailableError(`the server of -remote answers ${status}: ${words}`);
      default:
        throw new StoreError(`the server of -remote answers ${status}: ${words}`);
    }
  }

  #took<T extends { readonly leaseForm: LeaseForm }>(snapshot: T): T {
    this.leaseForm = snapshot.leaseForm;
    return snapshot;
  }
}
