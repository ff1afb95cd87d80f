import { info, notifySystemd } from "../observe/mod.ts";
import type { ConnectionSource, NetworkSource } from "../server/mod.ts";
import { serveLeases } from "../server/mod.ts";
import { StoreError } from "../store/mod.ts";
import { displayEndpoints } from "../store/etcd_http.ts";
import { openStore } from "../store/open.ts";
import { openNetworkNames } from "../store/networks_open.ts";
import { type StoreOptions, UNNAMED_NETWORK, withNetwork } from "../store/options.ts";
import type { ListenOptions } from "./options.ts";
import { openListener } from "./serve_listener.ts";

/** What {@linkcode startServer} is given. */
export interface ServerOptions {
  readonly store: StoreOptions;
  readonly listen: ListenOptions;
  /** Ends the server in order. */
  readonly signal: AbortSignal;
  /** Tells systemd that the service is up. @default true */
  readonly notify?: boolean;
}

/** A server that listens. */
export interface RunningServer {
  /** Settles when it has ended. */
  readonly done: Promise<void>;
}

/**
 * Serves the leases of a store to other hosts. As flannel's, the server takes none for itself.
 *
 * @throws {ListenError} when it cannot listen where it was told to
 * @throws {ConfigError} when a TLS file cannot be used
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { store, listen, signal, notify = true } = options;
  const connections: ConnectionSource = await openListener(listen);
  info("running as server");
  info(describeServer(listen, store));
  if (notify) notifySystemd("READY=1", "STATUS=Serving leases to other hosts");
  return { done: serveLeases({ connections, networks: networksOf(store), signal }) };
}

/** Where it listens, what it serves, and whom it lets in. */
function describeServer({ address, certFile, caFile }: ListenOptions, store: StoreOptions): string {
  const place = "hostname" in address
    ? `${
      address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname
    }:${address.port}`
    : `fd://${address.descriptor}`;
  const what = store.kind === "etcd"
    ? `etcd at ${displayEndpoints(store.endpoints)}, prefix ${store.prefix}`
    : store.kind === "embedded"
    ? `embedded store ${store.path}`
    : `flanneld server at ${store.servers.join()}`;
  const guard = certFile === undefined
    ? "without TLS"
    : caFile === undefined
    ? "with TLS"
    : "with TLS, for clients with a certificate only";
  return `Listening on ${place} ${guard}; serving ${what}`;
}

/** Opens what is asked for; a store that has yet to be found is looked for by each request. */
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
