import { Entries } from "../entries.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import type { KeyRange, Kv } from "../kv/kv.ts";
import { NameReader } from "../network_names.ts";
import type { Candidate, Finding } from "./detect.ts";
import { type EtcdV2Client, EtcdV2Error, isKeyNotFound, NotEtcdV2Error } from "./v2/client.ts";
import { toEntry } from "./v2/event.ts";
import { type EtcdV3Gateway, GatewayAbsentError, GatewayUnusableError } from "./v3/gateway.ts";
import { missingText } from "./v3/keys.ts";

/** Keys of v3 that are read to find a lease, and children to find networks. */
const MAX_KEYS = 1_000;

/** etcd v2, by its keys API. @param names asks for any network below the prefix */
export function v2Candidate(client: EtcdV2Client, prefix: string, names: boolean): Candidate {
  const findNames = async (signal: AbortSignal | undefined) => {
    const reader = new NameReader(prefix);
    let found: (string | undefined)[] = [];
    try {
      await client.list(prefix, () => {
        found = [];
        return (leaf) => void found.push(reader.nameOf(toEntry(leaf)));
      }, signal);
    } catch (error) {
      if (!isKeyNotFound(error)) throw error;
    }
    return findingOfNames(found, prefix);
  };
  const findConfig = async (signal: AbortSignal | undefined): Promise<Finding> => {
    const key = `${prefix}/config`;
    const query = { quorum: true, recursive: false, sorted: false };
    const [{ node }] = await client.call({ method: "GET", key, query }, signal);
    return node.dir
      ? { type: "missing", words: `${key} is a directory` }
      : { type: "config", text: node.value ?? "" };
  };
  return {
    async findConfig(signal) {
      try {
        return await (names ? findNames(signal) : findConfig(signal));
      } catch (error) {
        if (error instanceof StoreUnavailableError || !(error instanceof StoreError)) throw error;
        if (!(error instanceof EtcdV2Error)) {
          const isPlain = error instanceof NotEtcdV2Error && error.status === 404;
          return { type: "absent", why: error.message, isPlain };
        }
        return isKeyNotFound(error)
          ? { type: "missing", words: error.message }
          : { type: "refused", error };
      }
    },
    async holdsLeases(signal) {
      const isLease = leaseTest(prefix, names);
      try {
        let found = false;
        await client.list(names ? prefix : `${prefix}/subnets`, () => ({ key, dir }) => {
          found ||= !dir && isLease(key);
        }, signal);
        return found;
      } catch (error) {
        if (isKeyNotFound(error)) return false;
        throw error;
      }
    },
  };
}

/** etcd v3, by its JSON gateway. @param names asks for any network below the prefix */
export function v3Candidate(gateway: EtcdV3Gateway, prefix: string, names: boolean): Candidate {
  const findNames = async (signal: AbortSignal | undefined) => {
    const reader = new NameReader(prefix);
    const found: (string | undefined)[] = [];
    let key = `${prefix}/`;
    for (let i = 0; i < MAX_KEYS; i++) {
      const [next] = await gateway.range({ key, rangeEnd: `${prefix}0`, limit: 1 }, signal);
      if (next === undefined) break;
      const child = `${prefix}/${next.key.slice(prefix.length + 1).split("/", 1)[0]!}`;
      key = next.key === child ? `${child}\0` : `${child}0`;
      const name = reader.nameOf({ key: `${child}/config` });
      if (name === undefined) continue;
      if ((await gateway.range({ key: `${child}/config` }, signal)).length > 0) found.push(name);
    }
    return findingOfNames(found, prefix);
  };
  const findConfig = async (signal: AbortSignal | undefined): Promise<Finding> => {
    const key = `${prefix}/config`;
    const [entry] = await gateway.range({ key }, signal);
    return entry === undefined
      ? { type: "missing", words: missingText(key) }
      : { type: "config", text: entry.value };
  };
  return {
    async findConfig(signal) {
      try {
        return await (names ? findNames(signal) : findConfig(signal));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (error instanceof GatewayAbsentError) return { type: "absent", why: error.message };
        // A gateway that has lost its connection to etcd answers like an etcd without leader.
        return error instanceof GatewayUnusableError || error instanceof StoreUnavailableError
          ? { type: "unasked", why: error.message }
          : { type: "refused", error };
      }
    },
    async holdsLeases(signal) {
      const within = names ? prefix : `${prefix}/subnets`;
      const range = { key: `${within}/`, rangeEnd: `${within}0`, limit: MAX_KEYS, keysOnly: true };
      const isLease = leaseTest(prefix, names);
      return (await gateway.range(range, signal)).some(({ key }) => isLease(key));
    },
  };
}

/** etcd v3 by what an agent uses: gRPC. @param names asks for any network below the prefix */
export function directCandidate(kv: Kv, prefix: string, names: boolean): Candidate {
  const reader = new NameReader(prefix);
  const network: KeyRange = { prefix };
  return {
    async findConfig(signal): Promise<Finding> {
      try {
        if (names) {
          const { entries } = await kv.list(reader.range, { signal });
          return findingOfNames(entries.map((entry) => reader.nameOf(entry)), prefix);
        }
        const key = `${prefix}/config`;
        // The listing shows whether this user may read all of the network, as an agent does.
        const { entries, missing } = await kv.list(network, { signal });
        const config = entries.find((entry) => entry.key === key);
        return config === undefined
          ? { type: "missing", words: missing(key) }
          : { type: "config", text: config.value };
      } catch (error) {
        if (error instanceof StoreUnavailableError || !(error instanceof StoreError)) throw error;
        return { type: "refused", error };
      }
    },
    async holdsLeases(signal) {
      // A listing of all networks would read all leases: v3 is taken where both APIs hold the same.
      if (names) return true;
      const isLease = leaseTest(prefix, names);
      return (await kv.list(network, { signal })).entries.some(({ key }) => isLease(key));
    },
  };
}

/** The names stand for the configs: two stores with the same networks are taken for copies. */
function findingOfNames(found: readonly (string | undefined)[], prefix: string): Finding {
  const names = found.filter((name) => name !== undefined);
  return names.length > 0
    ? { type: "config", text: names.toSorted().join("\n") }
    : { type: "missing", words: `there is no network below ${prefix}` };
}

function leaseTest(prefix: string, names: boolean): (key: string) => boolean {
  if (names) return (key) => key.includes("/subnets/");
  const entries = new Entries(prefix);
  return (key) => entries.parseKey(key)?.type === "lease";
}
