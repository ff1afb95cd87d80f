import { assert, assertEquals, assertRejects } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { PERMANENT } from "../../mod/lease/mod.ts";
import { ConflictError } from "../../mod/store/errors.ts";
import { makeEtcdV3Lab } from "../../mod/store/testing/etcd_lab.ts";
import { EtcdV3Kv } from "../../mod/store/etcd/v3/etcd_v3.ts";
import { EtcdV3Client } from "../../mod/store/etcd/v3/client.ts";
import { networkOf, openEtcdV3 } from "../../mod/store/testing/open_lab.ts";
import { storeCases } from "../../mod/store/testing/store_cases.ts";
import { ip, net, record, vxlan } from "../../mod/store/testing/store_lab.ts";

const PREFIX = "/flannel/network";
const SUBNET = net("10.20.93.0/24");
const KEY = `${PREFIX}/subnets/10.20.93.0-24`;

storeCases("etcd v3", makeEtcdV3Lab);

Deno.test("EtcdV3Kv leaves no etcd lease behind", async (t) => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await using store = await openEtcdV3({ endpoints: [etcd.endpoint], prefix: PREFIX, api: "v3" });
  const keys = async () => (await gateway.leases()).map(({ keys }) => keys);

  await t.step("by renewals", async () => {
    let lease = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    for (let i = 0; i < 3; i++) lease = await store.updateLease(lease, vxlan("192.0.2.1"), 700);
    assertEquals(await keys(), [[KEY]]);
    assertEquals((await store.lease(SUBNET))?.ttl, 700);
    await store.updateLease(lease, vxlan("192.0.2.1"), PERMANENT);
    assertEquals(await keys(), []);
    assertEquals((await store.lease(SUBNET))?.ttl, PERMANENT);
  });

  await t.step("by writes that lose", async () => {
    const lease = (await store.lease(SUBNET))!;
    await assertRejects(() => store.createLease(SUBNET, vxlan("192.0.2.2"), 600), ConflictError);
    await store.updateLease(lease, vxlan("192.0.2.1"), PERMANENT);
    await assertRejects(() => store.updateLease(lease, vxlan("192.0.2.3"), 600), ConflictError);
    await assertRejects(() => store.removeLease(lease), ConflictError);
    assertEquals(await keys(), []);
  });

  await t.step("by removals and agents' records", async () => {
    await store.removeLease((await store.lease(SUBNET))!);
    await store.removeLease(await store.createLease(SUBNET, vxlan("192.0.2.1"), 600));
    assertEquals(await keys(), []);
    const first = await store.putNodeRecord(ip("192.0.2.1"), record("host1"), 600, undefined);
    await store.putNodeRecord(ip("192.0.2.1"), record("host1"), 600, first.revision);
    assertEquals(await keys(), [[`${PREFIX}/agents/192.0.2.1`]]);
  });

  await t.step("but keeps one that holds an operator's keys too", async () => {
    const { ID } = await gateway.call("lease/grant", { TTL: 500 });
    for (const key of [KEY, "/operator"]) {
      const value = '{"PublicIP":"192.0.2.1"}';
      await gateway.call("kv/put", { key: btoa(key), value: btoa(value), lease: ID });
    }
    await store.updateLease((await store.lease(SUBNET))!, vxlan("192.0.2.1"), 600);
    assert((await keys()).some((held) => held.length === 1 && held[0] === "/operator"));
    assertEquals(await gateway.get("/operator"), '{"PublicIP":"192.0.2.1"}');
  });
});

Deno.test("lease() returns the time that is left of a lease put by hand", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  await new EtcdGateway(etcd).put(KEY, '{"PublicIP":"192.0.2.1","PublicIPv6":null}', 2);
  await using store = await openEtcdV3({ endpoints: [etcd.endpoint], prefix: PREFIX, api: "v3" });
  assertEquals((await store.lease(SUBNET))?.ttl, 2);
  for (let lease = await store.lease(SUBNET); lease !== undefined;) {
    // The last second must not look like a lease without expiry.
    assert(lease.ttl !== undefined && lease.ttl > 0 && lease.ttl <= 2, `ttl ${lease.ttl}`);
    lease = await store.lease(SUBNET);
  }
});

Deno.test("snapshot() of many pages is of one moment", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  const subnets = Array.from({ length: 60 }, (_, i) => `${PREFIX}/subnets/10.20.${i}.0-24`);
  // Each round gives all leases one address, in one transaction.
  const round = (number: number) =>
    gateway.putAll(subnets.map((key) => [key, `{"PublicIP":"192.0.2.${number}"}`]));
  await round(0);
  const options = { endpoints: [etcd.endpoint], prefix: PREFIX, api: "v3" } as const;
  await using store = networkOf(new EtcdV3Kv(options, new EtcdV3Client(options, {}), 7), options);
  let writing = true;
  const writer = (async () => {
    for (let i = 0; writing; i = (i + 1) % 250) await round(i);
  })();
  try {
    const seen = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const { leases } = await store.snapshot();
      assertEquals(leases.length, subnets.length);
      const addresses = new Set(leases.map(({ attributes }) => attributes.publicIP));
      assertEquals(addresses.size, 1);
      for (const address of addresses) seen.add(address);
    }
    assert(seen.size > 1, "nothing was written meanwhile");
  } finally {
    writing = false;
    await writer;
  }
});

Deno.test("snapshot() starts again when etcd compacts its history between two pages", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await gateway.putAll(
    Array.from({ length: 60 }, (_, i) => [
      `${PREFIX}/subnets/10.20.${i}.0-24`,
      '{"PublicIP":"192.0.2.1"}',
    ]),
  );
  const options = { endpoints: [etcd.endpoint], prefix: PREFIX, api: "v3" } as const;
  const client = new EtcdV3Client(options, {});
  let pages = 0;
  await using store = networkOf(
    new EtcdV3Kv(options, {
      call: async (...call) => {
        const answer = await client.call(...call);
        if (pages++ === 0) await gateway.compact();
        return answer;
      },
      watch: (...call) => client.watch(...call),
      reconnect: () => client.reconnect(),
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    }, 25),
    options,
  );
  assertEquals((await store.snapshot()).leases.length, 60);
  // One page of the first attempt, three of the second.
  assertEquals(pages, 4);
});
