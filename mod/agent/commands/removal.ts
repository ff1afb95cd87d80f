/** Action of a clean-up step on its objects. */
export type RemovalVerb = "remove" | "add" | "change";

/** Objects of flanneld that one step removes or hands over to another program. */
export interface Removal {
  /** The objects, one line each. */
  readonly what: readonly string[];
  /** @default "remove" */
  readonly verb?: RemovalVerb;
  remove(): void | Promise<void>;
}

/** Options of `cleanUp()`. */
export interface CleanupOptions {
  /** Report the changes without making them. @default false */
  readonly dryRun?: boolean;
  /** Remove the lease and the node record. @default false */
  readonly release?: boolean;
  /**
   * Hand over to flannel 0.7.1: device, routes, accepting firewall rules and files stay in its form.
   * Excludes `release`.
   *
   * @default false
   */
  readonly keepDevice?: boolean;
  readonly signal: AbortSignal;
  /** Called with each object that was, or in a dry run would be, removed, added or changed. */
  readonly onDone: (what: string, verb: RemovalVerb) => void;
  /** Called with each object that stays although it may be flanneld's or was to be released, and the reason. */
  readonly onKept: (what: string) => void;
  /** Called with each object that could not be removed; the clean-up goes on. */
  readonly onFailed: (message: string, verb?: RemovalVerb) => void;
}
