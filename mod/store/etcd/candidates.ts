import type { Candidate, Finding } from "./detect.ts";
import { Entries } from "../entries.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import { type EtcdV2Client, EtcdV2Error, isKeyNotFound, NotEtcdV2Error } from "./v2/client.ts";
import { type EtcdV3Gateway, GatewayAbsentError, GatewayUnusableError } from "./v3/gateway.ts";
import { configMissing } from "./v3/keys.ts";
import type { Store } from "../store.ts";

/** Keys that are looked through for a lease. */
const ENOUGH = 1_000;

/** etcd v2, by its keys API. */
export function v2Candidate(client: EtcdV2Client, prefix: string): Candidate {
  const entries = new Entries(prefix);
  const query = { quorum: true, recursive: false, sorted: false };
  return {
    async findConfig(signal): Promise<Finding> {
      const key = entries.configKey;
      try {
        const [{ node }] = await client.call({ method: "GET", key, query }, signal);
        return node.dir
          ? { type: "missing", words: `${key} is a directory` }
          : { type: "config", text: node.value ?? "" };
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
      try {
        let found = false;
        await client.list(`${prefix}/subnets`, () => ({ key, dir }) => {
          found ||= !dir && isLease(entries, key);
        }, signal);
        return found;
      } catch (error) {
        if (isKeyNotFound(error)) return false;
        throw error;
      }
    },
  };
}

/** etcd v3, by its JSON gateway. */
export function v3Candidate(gateway: EtcdV3Gateway, prefix: string): Candidate {
  const entries = new Entries(prefix);
  return {
    async findConfig(signal): Promise<Finding> {
      try {
        const [entry] = await gateway.range({ key: entries.configKey }, signal);
        return entry === undefined
          ? { type: "missing", words: configMissing(entries.configKey) }
          : { type: "config", text: entry.value };
      } catch (error) {
        return findingOfGateway(error);
      }
    },
    async holdsLeases(signal) {
      const range = { key: `${prefix}/subnets/`, rangeEnd: `${prefix}/subnets0`, limit: ENOUGH };
      const found = await gateway.range(range, signal);
      return found.some(({ key }) => isLease(entries, key));
    },
  };
}

/** What a search has found where etcd v3's JSON gateway failed. @throws what is no StoreError */
export function findingOfGateway(error: unknown): Finding {
  if (!(error instanceof StoreError)) throw error;
  if (error instanceof GatewayAbsentError) return { type: "absent", why: error.message };
  // A gateway that has lost its way to etcd answers like an etcd without leader.
  return error instanceof GatewayUnusableError || error instanceof StoreUnavailableError
    ? { type: "unasked", why: error.message }
    : { type: "refused", error };
}

/** etcd v3 by the store that an agent uses: gRPC, and the whole of the network. */
export function storeCandidate(store: Store): Candidate {
  return {
    async findConfig(signal): Promise<Finding> {
      try {
        const { config } = await store.snapshot(signal && { signal });
        return "text" in config
          ? { type: "config", text: config.text }
          : { type: "missing", words: config.missing };
      } catch (error) {
        if (error instanceof StoreUnavailableError || !(error instanceof StoreError)) throw error;
        return { type: "refused", error };
      }
    },
    async holdsLeases(signal) {
      return (await store.snapshot(signal && { signal })).leases.length > 0;
    },
  };
}

function isLease(entries: Entries, key: string): boolean {
  return entries.parseKey(key)?.type === "lease";
}
