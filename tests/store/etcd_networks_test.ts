import { assert, assertEquals, assertRejects } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import {
  networkCases,
  type NetworksLab,
  someConfig,
} from "../../mod/store/testing/networks_cases.ts";
import { AmbiguousConfigError, openNetworkNames } from "../../mod/store/open.ts";
import { openNames } from "../../mod/store/testing/open_lab.ts";

const LEASE = "subnets/10.20.1.0-24";
const VALUE = '{"PublicIP":"192.0.2.1"}';

networkCases("etcd v2", async (): Promise<NetworksLab> => {
  const etcd = await EtcdServer.start();
  const keys = new EtcdKeys(etcd);
  return {
    open: (prefix) => openNames({ kind: "etcd", endpoints: [etcd.endpoint], prefix, api: "v2" }),
    add: (prefix, network) => keys.put(`${prefix}/${network}/config`, someConfig()),
    removeConfig: (prefix, network) => keys.delete(`${prefix}/${network}/config`),
    remove: (prefix, network) => keys.deleteTree(`${prefix}/${network}`),
    addLease: (prefix, network) => keys.put(`${prefix}/${network}/${LEASE}`, VALUE),
    loseHistory: () => keys.loseHistory(),
    [Symbol.asyncDispose]: () => etcd[Symbol.asyncDispose](),
  };
});

networkCases("etcd v3", async (): Promise<NetworksLab> => {
  const etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  return {
    open: (prefix) => openNames({ kind: "etcd", endpoints: [etcd.endpoint], prefix, api: "v3" }),
    add: (prefix, network) => gateway.put(`${prefix}/${network}/config`, someConfig()),
    removeConfig: (prefix, network) => gateway.delete(`${prefix}/${network}/config`),
    remove: (prefix, network) => gateway.deleteTree(`${prefix}/${network}`),
    addLease: (prefix, network) => gateway.put(`${prefix}/${network}/${LEASE}`, VALUE),
    loseHistory: () => gateway.compact(),
    [Symbol.asyncDispose]: () => etcd[Symbol.asyncDispose](),
  };
});

Deno.test("openNetworkNames() finds the one of etcd's stores that has networks", async () => {
  await using etcd = await EtcdServer.start();
  const gateway = new EtcdGateway(etcd);
  const options = {
    kind: "etcd",
    endpoints: [etcd.endpoint],
    prefix: "/net",
    api: "auto",
  } as const;

  const nothing = await openNetworkNames(options);
  if (!("waiting" in nothing)) throw new Error(nothing.note);
  assert(nothing.waiting.includes("no network below /net (etcd v2)"), nothing.waiting);

  for (const round of ["v3", "v2"] as const) {
    if (round === "v3") await gateway.put("/net/blue/config", someConfig());
    else {
      await gateway.deleteTree("/net");
      await new EtcdKeys(etcd).put("/net/blue/config", someConfig());
    }
    const opened = await openNetworkNames(options);
    if (!("names" in opened)) throw new Error(opened.waiting);
    assertEquals(opened.store, { ...options, api: round });
    assertEquals((await opened.names.snapshot()).names, ["blue"]);
    await opened.names[Symbol.asyncDispose]();
  }
  await gateway.put("/net/green/config", someConfig());
  await assertRejects(() => openNetworkNames(options), AmbiguousConfigError);
});
