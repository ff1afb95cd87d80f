/** What a step of a clean-up does to the objects that it names. */
export type RemovalVerb = "remove" | "add" | "change";

/** Something of flanneld's that is removed in one step, or handed over to another program. */
export interface Removal {
  /** The objects, one line each. */
  readonly what: readonly string[];
  /** @default "remove" */
  readonly verb?: RemovalVerb;
  remove(): void | Promise<void>;
}
