/**
 * Run inside a lab host: `fill.ts <endpoint> <v2|v3> <count>`. Leases /26s from 100.64.1.0 on to
 * public IPs of 198.18.0.0/15 (RFC 2544, benchmarks).
 */
import { entry, putAll } from "./etcd_http.ts";

const [endpoint, api, count] = Deno.args as [string, "v2" | "v3", string];
const entries = Array.from(
  { length: Number(count) },
  (_, i) => entry(api, 0x64400100 + i * 64, 0xc6120001 + i, i),
);
await putAll(endpoint, api, entries);
