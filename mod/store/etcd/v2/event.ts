import type { Entries, RawEntry } from "../../entries.ts";
import { type Answer, ErrorCode, type Node } from "./client.ts";
import { PERMANENT } from "../../../lease/mod.ts";
import type { Change } from "../../store.ts";

/** What an event means to who watches a directory. */
export type EventMeaning<C = Change> =
  | { readonly type: "change"; readonly change: C }
  /** A directory went away and much with it, which one event does not list. */
  | { readonly type: "directory-gone"; readonly reason: string }
  /** Nothing of ours. */
  | { readonly type: "nothing" };

const NOTHING: EventMeaning<never> = { type: "nothing" };

/**
 * Reads one event of a recursive watch on the network's directory.
 *
 * Whatever the action is called, an event that carries no removal carries the new value: that takes
 * in `compareAndSwap` and any that a later etcd may add. Deletions of an ancestor are reported to
 * the watchers of what was in it, with the ancestor's key.
 */
export function readEvent({ action, node }: Answer, entries: Entries): EventMeaning {
  const removed = action === "delete" || action === "expire" || action === "compareAndDelete";
  const below = node.key.startsWith(`${entries.prefix}/`);
  if (!removed) {
    if (!below) return NOTHING;
    if (node.dir) {
      const type = entries.parseKey(node.key)?.type;
      if (type === "config" || type === "lease" || type === "agent") {
        entries.ignore(node.key, "is a directory");
      }
      return NOTHING;
    }
    const change = entries.put(rawEntry(node));
    return change === undefined ? NOTHING : { type: "change", change };
  }
  const gone = below
    ? entries.parseKey(node.key)?.type === "directory"
    : node.key === entries.prefix || entries.prefix.startsWith(`${node.key}/`);
  if (gone) {
    return {
      type: "directory-gone",
      reason: `${node.key} was ${action === "expire" ? "expired" : "deleted"}`,
    };
  }
  const change = entries.remove(
    node.key,
    missingText(entries.configKey, node.modifiedIndex),
  );
  return change === undefined ? NOTHING : { type: "change", change };
}

/** A value's node in the terms of both etcd adapters. */
export function rawEntry(node: Node): RawEntry {
  return {
    key: node.key,
    value: node.value ?? "",
    revision: String(node.modifiedIndex),
    // `ttl` is left out when it is zero, which it is in the moment before the expiry.
    ttl: node.expiration === undefined ? PERMANENT : Math.max(1, node.ttl ?? 0),
  };
}

/** etcd's words for a key that does not exist. */
export function missingText(key: string, index: number): string {
  return `${ErrorCode.keyNotFound}: Key not found (${key}) [${index}]`;
}
