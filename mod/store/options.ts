/** Which store, and how to reach it. Values come validated from the command line. */
export type StoreOptions = EtcdStoreOptions | EmbeddedStoreOptions | RemoteStoreOptions;

/** Name of the network where several are not told apart: `_` on the wire, as flannel has it. */
export const UNNAMED_NETWORK = "_";

/** etcd, v2 or v3. A named network is a deeper {@linkcode EtcdOptions.prefix}. */
export interface EtcdStoreOptions extends EtcdOptions {
  readonly kind: "etcd";
}

/** The leases in one local file. */
export interface EmbeddedStoreOptions {
  readonly kind: "embedded";
  /** Path of the database file; its directory is made when it is missing. */
  readonly path: string;
  /** @default UNNAMED_NETWORK */
  readonly network?: string;
  /** Text of the config that is written when the network has none. */
  readonly seed?: string;
}

/** A `flanneld -listen` elsewhere, over any store. */
export interface RemoteStoreOptions {
  readonly kind: "remote";
  /** `host:port` each, at least one. */
  readonly servers: readonly string[];
  /** @default UNNAMED_NETWORK */
  readonly network?: string;
  /** Paths of PEM files: any of them asks for TLS; certificate and key go together. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Path of the file with the token that the server asks for. */
  readonly tokenFile?: string;
}

/**
 * The options for a named network of the same store. The seed stays behind: who asks a server for a
 * network that is not there must not bring it about.
 *
 * @param name without `/`
 */
export function withNetwork(options: StoreOptions, name: string): StoreOptions {
  switch (options.kind) {
    case "etcd":
      return { ...options, prefix: `${options.prefix}/${name}` };
    case "embedded":
      return { kind: "embedded", path: options.path, network: name };
    case "remote":
      return { ...options, network: name };
  }
}

/** Names or addresses of the hosts that the store is reached at; none for a local file. */
export function endpointHosts(options: StoreOptions): string[] {
  switch (options.kind) {
    case "etcd":
      return options.endpoints.map((url) => new URL(url).hostname);
    case "remote":
      return options.servers.map((server) => new URL(`http://${server}`).hostname);
    case "embedded":
      return [];
  }
}

/**
 * Where the network config is looked for and by which flags that is chosen, to complete a message
 * that it is missing.
 *
 * @param name of the store, as {@linkcode Store.name} tells it
 */
export function describeConfigPlace(options: StoreOptions, name: string): string {
  switch (options.kind) {
    case "etcd":
      return `it is looked for at ${options.prefix}/config in ${name} (see -etcd-prefix, ` +
        "FLANNEL_ETCD_PREFIX and -etcd-api)";
    case "embedded": {
      const place = `it is looked for in ${name}`;
      if (options.network === undefined) {
        return `${place}; give -network, for example -network=10.20.0.0/16, to have it written there`;
      }
      // -network would be for one of several alone.
      const flags = `-store=embedded=${options.path} -networks=${options.network}`;
      return `${place}; write it, for example: flanneld config set ${flags} ` +
        `'{"Network": "10.20.0.0/16"}'`;
    }
    case "remote":
      return `${name} looks for it in its own store (see -store and -etcd-prefix there)`;
  }
}

/** How to reach etcd. */
export interface EtcdOptions {
  /** Client URLs, `http://` or `https://`, without a trailing slash; at least one. */
  readonly endpoints: readonly string[];
  /** Directory of the network, with a leading and without a trailing slash. */
  readonly prefix: string;
  /** Which of etcd's two stores; `auto` takes the one that holds the config. */
  readonly api: "auto" | "v2" | "v3";
  /** Paths of PEM files. A CA alone, or with client certificate and key. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly username?: string;
  /** Never logged. */
  readonly password?: string;
}
