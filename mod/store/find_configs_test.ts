import { assert, assertEquals } from "@std/assert";
import { EtcdServer } from "../../tests/lab/etcd.ts";
import { findConfigs } from "./find_configs.ts";
import type { EtcdOptions } from "./options.ts";

const CONFIG = '{"Network": "10.20.0.0/16"}';

function options(endpoint: string): EtcdOptions {
  return { endpoints: [endpoint], prefix: "/atomic.io/network", api: "auto" };
}

/** Writes to etcd's two stores. */
async function put(etcd: EtcdServer, api: "v2" | "v3", key: string, value: string): Promise<void> {
  const answer = api === "v2"
    ? await etcd.fetch(`/v2/keys${key}`, { method: "PUT", body: new URLSearchParams({ value }) })
    : await etcd.fetch("/v3/kv/put", {
      method: "POST",
      body: JSON.stringify({ key: btoa(key), value: btoa(value) }),
    });
  assert(answer.ok, await answer.text());
}

Deno.test("findConfigs() finds network configs under any prefix of either API, and nothing else", async () => {
  await using etcd = await EtcdServer.start();
  assertEquals(await findConfigs(options(etcd.endpoint)), []);
  await put(etcd, "v2", "/flannel/network/config", CONFIG);
  await put(etcd, "v2", "/app/config", '{"debug": true}');
  await put(etcd, "v2", "/flannel/network/subnets/10.20.1.0-24", '{"PublicIP": "1.2.3.4"}');
  await put(etcd, "v3", "/coreos.com/network/config", '{"network": "10.30.0.0/16"}');
  await put(etcd, "v3", "/other/config", "Network");
  await put(etcd, "v3", "/other/network", CONFIG);
  assertEquals(await findConfigs(options(etcd.endpoint)), [
    { api: "v2", prefix: "/flannel/network", text: CONFIG },
    { api: "v3", prefix: "/coreos.com/network", text: '{"network": "10.30.0.0/16"}' },
  ]);
});
