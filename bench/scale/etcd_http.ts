/** The few etcd calls of the bench's fillers, by plain HTTP; v3 through its JSON gateway. */
import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import { encodeLeaseValue } from "../../mod/lease/mod.ts";

/** Where the leases are. */
export const PREFIX = "/flannel/network";

const TTL = 86_400;

/** etcd takes 128 operations in one transaction. */
const BATCH = 128;

/** A lease to be written. */
export interface Entry {
  readonly key: string;
  readonly value: string;
}

/** A vxlan lease of the /26 at `subnet`, with a VTEP MAC made from `number`. */
export function entry(
  api: "v2" | "v3",
  subnet: IPv4,
  publicIP: IPv4,
  number: number,
): Entry {
  const octets = [24, 16, 8, 0].map((shift) =>
    ((number >>> shift) & 255).toString(16).padStart(2, "0")
  );
  const VtepMAC = `0a:58:${octets.join(":")}`;
  const backendData = api === "v2" ? { VtepMAC } : { VNI: 1, VtepMAC };
  return {
    key: `${PREFIX}/subnets/${formatIPv4(subnet)}-26`,
    value: encodeLeaseValue(
      { publicIP, backendType: "vxlan", backendData },
      api === "v2" ? "v0.7" : "v0.20",
    ),
  };
}

/** Writes leases, many at a time. */
export async function putAll(
  endpoint: string,
  api: "v2" | "v3",
  entries: readonly Entry[],
): Promise<void> {
  if (api === "v2") {
    return await concurrently(entries, ({ key, value }) =>
      post(`${endpoint}/v2/keys${key}`, {
        method: "PUT",
        body: new URLSearchParams({ ttl: String(TTL), value }),
      }));
  }
  const { ID } = await post(`${endpoint}/v3/lease/grant`, {
    method: "POST",
    body: JSON.stringify({ TTL }),
  }) as { ID: string };
  const batches: Entry[][] = [];
  for (let i = 0; i < entries.length; i += BATCH) batches.push(entries.slice(i, i + BATCH));
  await concurrently(batches, (batch) => {
    const success = batch.map(({ key, value }) => ({
      request_put: { key: btoa(key), value: btoa(value), lease: ID },
    }));
    return post(`${endpoint}/v3/kv/txn`, { method: "POST", body: JSON.stringify({ success }) });
  });
}

async function post(url: string, init: RequestInit): Promise<unknown> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return await response.json();
}

async function concurrently<T>(
  items: readonly T[],
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: 32 }, async () => {
    while (next < items.length) await work(items[next++]!);
  }));
}
