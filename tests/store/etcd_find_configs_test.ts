import { assertEquals } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import { findConfigs } from "../../mod/store/etcd/find_configs.ts";
import type { EtcdOptions } from "../../mod/store/etcd/options.ts";

const CONFIG = '{"Network": "10.20.0.0/16"}';

function options(endpoint: string): EtcdOptions {
  return { endpoints: [endpoint], prefix: "/atomic.io/network", api: "auto" };
}

Deno.test("findConfigs() finds network configs under any prefix of either API, and nothing else", async () => {
  await using etcd = await EtcdServer.start();
  const [v2, v3] = [new EtcdKeys(etcd), new EtcdGateway(etcd)];
  assertEquals(await findConfigs(options(etcd.endpoint)), []);
  await v2.put("/flannel/network/config", CONFIG);
  await v2.put("/app/config", '{"debug": true}');
  await v2.put("/flannel/network/subnets/10.20.1.0-24", '{"PublicIP": "1.2.3.4"}');
  await v3.put("/coreos.com/network/config", '{"network": "10.30.0.0/16"}');
  await v3.put("/other/config", "Network");
  await v3.put("/other/network", CONFIG);
  assertEquals(await findConfigs(options(etcd.endpoint)), [
    { api: "v2", prefix: "/flannel/network", text: CONFIG },
    { api: "v3", prefix: "/coreos.com/network", text: '{"network": "10.30.0.0/16"}' },
  ]);
});
