import { info, notifySystemd, warning } from "../../observe/mod.ts";
import type { ConnectionSource } from "../../http/connection.ts";
import type { NetworkSource } from "../../server/mod.ts";
import { ownHostNames, serveLeases } from "../../server/mod.ts";
import { StoreError } from "../../store/mod.ts";
import { UNNAMED_NETWORK } from "../../store/network_name.ts";
import { openNetworkNames, openStore } from "../../store/open.ts";
import { clearTextWarning, isLoopbackName } from "../../store/remote/clear_text.ts";
import { ReloadedFiles } from "../../store/remote/reloaded_files.ts";
import { readRemoteToken } from "../../store/remote/token.ts";
import { describeStore, type StoreOptions, withNetwork } from "../../store/options.ts";
import type { ListenOptions } from "../core/options.ts";
import { certifiedNames, openListener } from "./serve_listener.ts";

/** Options of {@linkcode startServer}. */
export interface ServerOptions {
  readonly store: StoreOptions;
  readonly listen: ListenOptions;
  /** Stops the server. */
  readonly signal: AbortSignal;
  /** Send READY=1 to systemd. @default true */
  readonly notify?: boolean;
}

/** A server that listens. */
export interface RunningServer {
  /** Fulfilled or rejected when the server has ended. */
  readonly done: Promise<void>;
}

/**
 * Serves the leases of a store to other hosts. The server itself acquires no lease, as in flannel.
 *
 * @throws {ListenError} when it cannot listen on the address
 * @throws {ConfigError} when a TLS file or the token file cannot be used
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { store, listen, signal, notify = true } = options;
  const { address, certFile, tokenFile } = listen;
  const token = tokenFile === undefined
    ? undefined
    : await ReloadedFiles.open([tokenFile], () => readRemoteToken(tokenFile));
  const hostNames = await ownHostNames([
    ...("hostname" in address ? [address.hostname] : []),
    ...(certFile === undefined ? [] : await certifiedNames(certFile)),
  ]);
  const connections: ConnectionSource = await openListener(listen);
  info("running as server");
  info(describeServer(listen, store));
  const isLocal = "hostname" in address && isLoopbackName(address.hostname);
  if (tokenFile !== undefined && certFile === undefined && !isLocal) {
    warning(clearTextWarning("-listen"));
  }
  if (notify) notifySystemd("READY=1", "STATUS=Serving leases to other hosts");
  const networks = networksOf(store);
  return {
    done: serveLeases({
      connections,
      networks,
      token: token && (() => token.current()),
      hostNames,
      signal,
    }),
  };
}

/** Describes the server: its address, networks and admitted clients. */
function describeServer(listen: ListenOptions, store: StoreOptions): string {
  const { address, certFile, caFile, tokenFile } = listen;
  const place = "hostname" in address
    ? `${
      address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname
    }:${address.port}`
    : `fd://${address.descriptor}`;
  const guard = certFile === undefined
    ? "without TLS"
    : caFile === undefined
    ? "with TLS"
    : "with TLS, for clients with a certificate only";
  const admitted = caFile !== undefined
    ? ""
    : tokenFile === undefined
    ? "; every client is served, for -listen-allow-unauthenticated is given"
    : ", for clients with the token only";
  return `Listening on ${place} ${guard}${admitted}; serving ${describeStore(store)}`;
}

/** Returns a source that opens a network's store at a request, again after a failed attempt. */
function networksOf(store: StoreOptions): NetworkSource {
  return {
    async open(network, signal) {
      const options = network === UNNAMED_NETWORK ? store : withNetwork(store, network);
      const opened = await openStore(options, { signal, owner: true });
      if (!("store" in opened)) throw new StoreError(opened.waiting);
      info(network === UNNAMED_NETWORK ? opened.note : `${network}: ${opened.note}`);
      return opened.store;
    },
    async names(signal) {
      const opened = await openNetworkNames(store, { signal, owner: true });
      if (!("names" in opened)) throw new StoreError(opened.waiting);
      return opened.names;
    },
  };
}
