/**
 * Finds the leaves of a JSON text while it arrives: the objects that hold no other object.
 *
 * A listing of etcd v2 nests the entries in their directories. With 60,000 leases it is 16 MB of
 * text and, parsed in one go, four times that in memory, held all at once. Every entry and every
 * empty directory is a leaf, so that one at a time is enough.
 *
 * Leaves are found by their braces outside of strings; the caller parses them.
 *
 * @example
 * ```ts
 * import { LeafFinder } from "./leaves.ts";
 * const leaves: string[] = [];
 * const finder = new LeafFinder((leaf) => leaves.push(leaf));
 * finder.push('{"nodes":[{"key":"/a","val');
 * finder.push('ue":"{}"},{"key":"/b"}]}');
 * console.assert(leaves.join() === '{"key":"/a","value":"{}"},{"key":"/b"}');
 * console.assert(finder.complete);
 * ```
 */
export class LeafFinder {
  readonly #found: (leaf: string) => void;
  /** Unfinished leaf or string, which the next text continues. */
  #rest = "";
  #depth = 0;

  /** @param found takes each leaf */
  constructor(found: (leaf: string) => void) {
    this.#found = found;
  }

  /** True when no object and no string is open. */
  get complete(): boolean {
    return this.#depth === 0 && this.#rest === "";
  }

  /** Takes the next piece of the text. */
  push(piece: string): void {
    const text = this.#rest + piece;
    /** Where the innermost open object begins, while it may still be a leaf. */
    let start = -1;
    /** Where to begin again with the next piece. */
    let safe = 0;
    let depth = this.#depth;
    let at = 0;
    scan: for (; at < text.length; at++) {
      switch (text.charCodeAt(at)) {
        case QUOTE: {
          if (start < 0) safe = at;
          const end = endOfString(text, at + 1);
          if (end < 0) break scan;
          at = end;
          break;
        }
        case OPEN:
          start = safe = at;
          depth++;
          break;
        case CLOSE:
          depth--;
          if (start >= 0) this.#found(text.slice(start, at + 1));
          start = -1;
          break;
      }
    }
    // Where neither a leaf nor a string is open, nothing of the text is needed any more. A leaf
    // that is open will be counted again.
    const open = start >= 0;
    this.#depth = open ? depth - 1 : depth;
    this.#rest = open || at < text.length ? text.slice(open ? start : safe) : "";
  }
}

const QUOTE = 0x22;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const BACKSLASH = 0x5c;

/** Index of the quote that ends a string; -1 when it is not in the text. */
function endOfString(text: string, from: number): number {
  for (let end = text.indexOf('"', from); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return -1;
}
