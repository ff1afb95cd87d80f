import { PERMANENT } from "../../../lease/mod.ts";
import { isInRange, type KeyRange, type KvChange, type KvEntry } from "../../kv/kv.ts";
import { type Answer, ErrorCode, type Node } from "./client.ts";

/** The meaning of an event for the watch of a range. */
export type EventMeaning =
  | { readonly type: "change"; readonly change: KvChange }
  /** A directory was removed, with entries that the event does not list. */
  | { readonly type: "directory-gone"; readonly reason: string }
  /** Nothing of the range. */
  | { readonly type: "nothing" };

const NOTHING: EventMeaning = { type: "nothing" };

/**
 * Reads one event of a recursive watch.
 *
 * Whatever the action is called, an event that carries no removal carries the new value: that takes
 * in `compareAndSwap` and any that a later etcd may add. Deletions of an ancestor are reported to
 * the watchers of its entries, with the ancestor's key.
 */
export function readEvent({ action, node, prevNode }: Answer, range: KeyRange): EventMeaning {
  const { prefix, leaf } = range;
  const { key } = node;
  const removed = action === "delete" || action === "expire" || action === "compareAndDelete";
  if (!removed) {
    return isInRange(range, key)
      ? { type: "change", change: { type: "put", entry: toEntry(node) } }
      : NOTHING;
  }
  const isDirectory = node.dir ?? prevNode?.dir ?? false;
  const isAbove = key === prefix || prefix.startsWith(`${key}/`);
  if (isAbove || (isDirectory && leaf === undefined && isInRange(range, key))) {
    const how = action === "expire" ? "expired" : "deleted";
    return { type: "directory-gone", reason: `${key} was ${how}` };
  }
  // A directory takes its leaf with it.
  const gone = isDirectory && leaf !== undefined ? `${key}/${leaf}` : key;
  if (!isInRange(range, gone)) return NOTHING;
  const missing = missingText(gone, node.modifiedIndex);
  return { type: "change", change: { type: "delete", key: gone, missing } };
}

/** Converts a node of the keys API. */
export function toEntry(node: Node): KvEntry {
  return {
    key: node.key,
    value: node.value ?? "",
    revision: String(node.modifiedIndex),
    // `ttl` is left out when it is zero, which it is in the moment before the expiry.
    ttl: node.expiration === undefined ? PERMANENT : Math.max(1, node.ttl ?? 0),
    ...(node.dir ? { problem: "is a directory" } : {}),
  };
}

/** etcd's message for a key that does not exist. */
export function missingText(key: string, index: number): string {
  return `${ErrorCode.keyNotFound}: Key not found (${key}) [${index}]`;
}
