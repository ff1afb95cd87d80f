/**
 * Run inside a lab host: `put.ts <endpoint> <v2|v3> <count>`. Writes leases of 100.127.0.0/16 one by
 * one and prints for each `<third octet> <time of etcd's answer, ms since the epoch>`.
 */
import { entry, putAll } from "./etcd_http.ts";

const [endpoint, api, count] = Deno.args as [string, "v2" | "v3", string];
for (let i = 0; i < Number(count); i++) {
  const lease = entry(api, 0x647f0000 + i * 256, 0xac1c8000 + 150 + i, 0x7f000000 + i);
  await putAll(endpoint, api, [lease]);
  console.log(i, performance.timeOrigin + performance.now());
  await new Promise((resolve) => setTimeout(resolve, 100));
}
