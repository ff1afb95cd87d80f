import { Buffer } from "node:buffer";
import type { IKeyValue } from "etcd3";
import { PERMANENT } from "../../../lease/mod.ts";
import type { RawEntry } from "../../entries.ts";

/** What is said of a config that is not there; v3 itself just answers with no entry. */
export function configMissing(key: string): string {
  return `etcd v3, ${key}: no such key`;
}

/** An etcd lease that is none: what an entry without expiry has. */
export const NO_LEASE = "0";

/** All keys below `prefix + "/"`, as a request names them: `0` is the character after the slash. */
export function prefixRange(prefix: string): { key: Buffer; range_end: Buffer } {
  return { key: Buffer.from(`${prefix}/`), range_end: Buffer.from(`${prefix}0`) };
}

/** An entry without its lifetime, which etcd tells of its lease only; none at all is told. */
export function toRawEntry(kv: IKeyValue): RawEntry {
  return {
    key: kv.key.toString(),
    value: kv.value.toString(),
    revision: kv.mod_revision,
    ttl: kv.lease === NO_LEASE ? PERMANENT : undefined,
  };
}
