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
