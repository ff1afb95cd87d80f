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
