/** Something that is ours and can be taken away in one step. */
export interface Removal {
  /** What goes, one line each. */
  readonly what: readonly string[];
  remove(): void | Promise<void>;
}
