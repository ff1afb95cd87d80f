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
