import {
  Channel,
  type ClientDuplexStream,
  type ClientUnaryCall,
  credentials,
  type Metadata,
  type ServiceError,
  setLogger,
} from "@grpc/grpc-js";
import { Host } from "etcd3/lib/connection-pool.js";
import type {
  IAuthenticateRequest,
  IAuthenticateResponse,
  ILeaseGrantRequest,
  ILeaseGrantResponse,
  ILeaseRevokeRequest,
  ILeaseRevokeResponse,
  ILeaseTimeToLiveRequest,
  ILeaseTimeToLiveResponse,
  IRangeRequest,
  IRangeResponse,
  ITxnRequest,
  ITxnResponse,
  IWatchRequest,
  IWatchResponse,
  Services,
} from "etcd3";
import { abortable } from "../../../async/abortable.ts";
import { verbose } from "../../../observe/log/log.ts";
import { StoreError } from "../../errors.ts";
import { isOfEtcd } from "./errors.ts";
import { onHttp2Rejection } from "./guard.ts";
import { Tunnel } from "./tunnel.ts";
import type { TlsFiles } from "../tls_files.ts";

// gRPC writes of headers that a server sent, as they came and past the log, which escapes them.
const toLog = (...parts: readonly unknown[]) => verbose(1, `gRPC: ${parts.join(" ")}`);
setLogger({ error: toLog, info: toLog, debug: toLog });

/** The calls of etcd's gRPC services that the store makes: request and answer of each. */
export interface Calls {
  range: [IRangeRequest, IRangeResponse];
  txn: [ITxnRequest, ITxnResponse];
  leaseGrant: [ILeaseGrantRequest, ILeaseGrantResponse];
  leaseRevoke: [ILeaseRevokeRequest, ILeaseRevokeResponse];
  leaseTimeToLive: [ILeaseTimeToLiveRequest, ILeaseTimeToLiveResponse];
  authenticate: [IAuthenticateRequest, IAuthenticateResponse];
}

const SERVICE: Readonly<Record<keyof Calls, keyof typeof Services>> = {
  range: "KV",
  txn: "KV",
  leaseGrant: "Lease",
  leaseRevoke: "Lease",
  leaseTimeToLive: "Lease",
  authenticate: "Auth",
};

/** A watch: requests to create or cancel one, and what etcd answers. */
export type WatchStream = ClientDuplexStream<IWatchRequest, IWatchResponse>;

/** Options of {@linkcode Endpoint.call}. */
export interface EndpointCallOptions {
  readonly metadata: Metadata;
  /** Milliseconds until the call is given up, from the moment that a connection stands. */
  readonly timeout: number;
  readonly signal?: AbortSignal | undefined;
}

type UnaryMethod<M extends keyof Calls> = (
  request: Calls[M][0],
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, answer?: Calls[M][1]) => void,
) => ClientUnaryCall;

interface Connection {
  readonly channel: Channel;
  readonly host: Host;
  readonly tunnel: Tunnel;
}

/** Milliseconds a connection may take to stand. */
const CONNECT_TIMEOUT = 2_000;

/** Milliseconds that canceled calls have before their connection is closed. */
const CANCEL_TIME = 50;

/**
 * Calls and bytes received after which an idle connection is replaced. Deno 2.4 keeps 13 kB of each
 * call, and three times what was received, for as long as the connection lasts: 40 MB of a snapshot
 * of 60,000 leases.
 */
const MAX_CALLS = 300;
const MAX_RECEIVED = 2 ** 22;

const CHANNEL_OPTIONS = {
  // The default of 4 MB is too little for the event of a big directory's deletion, which etcd
  // sends as one message.
  "grpc.max_receive_message_length": -1,
  // One connection to each member, which dies with its channel. gRPC's process-wide pool would
  // hand a dead connection to the next channel.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_channelz": 0,
  "grpc.primary_user_agent": "flanneld",
} as const;

/**
 * One member of the cluster: etcd3's generated service clients, all over one connection.
 *
 * etcd3's own connection pool and watcher are passed by: they cannot cancel a call, know nothing
 * of compaction, and leave an unclosed client behind whenever they authenticate.
 */
export class Endpoint implements AsyncDisposable {
  /** Without credentials, for display. */
  readonly url: string;
  readonly #hostname: string;
  readonly #port: number;
  readonly #tls: TlsFiles | undefined;
  /** Of each call that is under way: ends it. */
  readonly #calls = new Set<(reason: Error) => void>();
  readonly #closing = new Set<Promise<void>>();
  /** Reasons for which connections were dropped, with which their calls have failed. */
  readonly #reasons = new WeakSet<Error>();
  readonly #guard: Disposable;
  #connection: Promise<Connection> | undefined;
  /** Calls made over the connection. */
  #made = 0;
  #closed = false;
  #hasAnswered = false;

  /**
   * @param url with scheme `http` or `https` and without credentials
   * @param tls for `https`
   */
  constructor(url: string, tls: TlsFiles) {
    this.url = url;
    const { protocol, hostname, port } = new URL(url);
    this.#hostname = hostname;
    this.#port = port !== "" ? Number(port) : protocol === "https:" ? 443 : 80;
    this.#tls = protocol === "https:" ? tls : undefined;
    this.#guard = onHttp2Rejection((error) => {
      // Most likely of a connection that is being closed anyway.
      if (this.#closing.size === 0) this.reset(error);
    });
  }

  /** True when a call was answered, or a watch, over whichever connection: the URL is right. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /**
   * Makes one call.
   *
   * @throws {ServiceError} as gRPC reports it; the signal's reason when that gave the call up
   */
  async call<M extends keyof Calls>(
    method: M,
    request: Calls[M][0],
    options: EndpointCallOptions,
  ): Promise<Calls[M][1]> {
    for (let attempt = 1;; attempt++) {
      const connection = await this.#connected(options.signal);
      try {
        return await this.#callOver(connection, method, request, options);
      } catch (error) {
        if (attempt === 2 || !isUnsent(error, connection)) throw error;
        this.reset(new Error("the server closes the connection"));
      } finally {
        this.#recycle(connection);
      }
    }
  }

  async #callOver<M extends keyof Calls>(
    { host }: Connection,
    method: M,
    request: Calls[M][0],
    { metadata, timeout, signal }: EndpointCallOptions,
  ): Promise<Calls[M][1]> {
    const client = host.getServiceClient(SERVICE[method]);
    const unary = (client as unknown as Record<M, UnaryMethod<M>>)[method].bind(client);
    this.#made++;
    return await new Promise((resolve, reject) => {
      const call = unary(request, metadata, { deadline: Date.now() + timeout }, (error, answer) => {
        this.#calls.delete(end);
        signal?.removeEventListener("abort", abort);
        if (error === null || isOfEtcd(error)) this.#hasAnswered = true;
        if (error === null) resolve(answer!);
        else reject(error);
      });
      const end = (reason: unknown) => {
        reject(reason);
        call.cancel();
      };
      const abort = () => end(signal!.reason);
      this.#calls.add(end);
      signal?.addEventListener("abort", abort);
    });
  }

  /** Takes a new connection for the next call, when this one is used up and idle. */
  #recycle({ tunnel }: Connection): void {
    const usedUp = this.#made >= MAX_CALLS || tunnel.received >= MAX_RECEIVED;
    if (usedUp && this.#calls.size === 0) this.reset(new Error("the connection is used up"));
  }

  /**
   * Opens a watch stream.
   *
   * @throws {ServiceError} when no connection can be made; what fails later, the stream reports
   */
  async watch(metadata: Metadata, signal: AbortSignal): Promise<WatchStream> {
    const { host } = await this.#connected(signal);
    const client = host.getServiceClient("Watch");
    const stream = (client as unknown as { watch(metadata: Metadata): WatchStream })
      .watch(metadata);
    const end = (reason: Error) => {
      stream.destroy(reason);
      stream.cancel();
    };
    this.#calls.add(end);
    stream.once("metadata", () => this.#hasAnswered = true);
    stream.on("close", () => this.#calls.delete(end));
    // Iterating reports errors; without a listener the one after its end would be fatal.
    stream.on("error", () => this.#calls.delete(end));
    return stream;
  }

  /**
   * Drops the connection and all that runs over it; the next call makes a new one.
   *
   * For one that was cut silently, too: gRPC's own keepalive needs HTTP/2 pings, which Deno 2.4
   * cannot send.
   *
   * @param reason what the calls that are under way fail with
   */
  reset(reason: Error): void {
    this.#reasons.add(reason);
    const connection = this.#connection;
    this.#connection = undefined;
    this.#made = 0;
    for (const end of this.#calls) end(reason);
    this.#calls.clear();
    if (connection === undefined) return;
    const closing = connection.then(close, () => {});
    this.#closing.add(closing);
    closing.finally(() => this.#closing.delete(closing));
  }

  /**
   * Drops the connection over which a call failed, unless it is dropped already: the present one is another then.
   *
   * @param error what the call failed with
   * @param reason as of {@linkcode Endpoint.reset}
   */
  drop(error: unknown, reason: Error): void {
    if (!(error instanceof Error && this.#reasons.has(error))) this.reset(reason);
  }

  /** Ends every call and closes the connection, so that the process can exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.reset(closed());
    await Promise.all(this.#closing);
    this.#guard[Symbol.dispose]();
  }

  /** The connection, once it stands. */
  async #connected(signal: AbortSignal | undefined): Promise<Connection> {
    if (this.#closed) throw closed();
    signal?.throwIfAborted();
    if (this.#connection === undefined) {
      const connection: Promise<Connection> = this.#connect((reason) => {
        if (this.#connection === connection) this.reset(reason);
      });
      this.#connection = connection;
      connection.catch(() => {
        if (this.#connection === connection) this.#connection = undefined;
      });
    }
    const connection = await abortable(this.#connection, signal);
    // It may have broken, or the signal have fired, in the meantime.
    if (connection.tunnel.reason !== undefined) throw connection.tunnel.reason;
    signal?.throwIfAborted();
    return connection;
  }

  async #connect(onBreak: (reason: Error) => void): Promise<Connection> {
    const tunnel = await Tunnel.open({
      // A URL keeps an IPv6 address in brackets.
      hostname: this.#hostname.replace(/^\[(.*)\]$/, "$1"),
      port: this.#port,
      tls: this.#tls,
      timeout: CONNECT_TIMEOUT,
      onBreak,
    });
    const channel = new Channel(`unix:${tunnel.path}`, credentials.createInsecure(), {
      ...CHANNEL_OPTIONS,
      "grpc.default_authority": `${this.#hostname}:${this.#port}`,
    });
    const host = new Host(this.url, credentials.createInsecure(), { channelOverride: channel });
    return { tunnel, channel, host };
  }
}

/**
 * gRPC's side first, and when its streams have had time to report to the server that they are canceled:
 * its HTTP/2 must not see a broken connection (see {@linkcode Tunnel}).
 */
async function close({ tunnel, channel }: Connection): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, CANCEL_TIME));
  channel.close();
  await tunnel[Symbol.asyncDispose]();
}

/**
 * True when gRPC could not send a call because the server had announced to close the connection:
 * gRPC then looks for another one, which the tunnel does not give.
 */
function isUnsent(error: unknown, { tunnel }: Connection): boolean {
  const { details } = error as Partial<ServiceError>;
  return details !== undefined && details.includes("ENOENT") && details.includes(tunnel.path);
}

function closed(): StoreError {
  return new StoreError("the store is closed");
}
