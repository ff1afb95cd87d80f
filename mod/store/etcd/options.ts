/** Address and credentials of etcd. */
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

/** etcd, v2 or v3. A named network is a deeper {@linkcode EtcdOptions.prefix}. */
export interface EtcdStoreOptions extends EtcdOptions {
  readonly kind: "etcd";
}
