import { Buffer } from "node:buffer";
import type { IKeyValue } from "etcd3";
import { PERMANENT } from "../../../lease/mod.ts";
import type { KvEntry } from "../../kv/kv.ts";

/** The message for a missing key; v3 itself returns no entry. */
export function missingText(key: string): string {
  return `etcd v3, ${key}: no such key`;
}

/** ID of no etcd lease: that of an entry without expiry. */
export const NO_LEASE = "0";

/** All keys below `prefix + "/"`, as a request names them: `0` is the character after the slash. */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  return { key: Buffer.from(`${prefix}/`), range_end: Buffer.from(`${prefix}0`) };
}

/** Converts an entry. Without its lifetime, which etcd returns for the etcd lease alone. */
export function toEntry(kv: IKeyValue): KvEntry {
  return {
    key: kv.key.toString(),
    value: kv.value.toString(),
    revision: kv.mod_revision,
    ttl: kv.lease === NO_LEASE ? PERMANENT : undefined,
  };
}
