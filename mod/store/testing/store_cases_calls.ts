import { assert, assertEquals, assertRejects } from "@std/assert";
import { PERMANENT } from "../../lease/mod.ts";
import { ConflictError } from "../errors.ts";
import { ip, net, record, type StoreCase, vxlan, withoutTtl } from "./store_lab.ts";

const SUBNET = net("10.20.93.0/24");

/** Cases of single calls. */
export const callCases: readonly StoreCase[] = [
  [
    "snapshot() takes a missing directory for an empty one and returns why there is no config",
    async (
      { lab, prefix },
    ) => {
      await using store = await lab.open(prefix);
      const { config, leases, agents } = await store.snapshot();
      assertEquals([leases, agents], [[], []]);
      assert("missing" in config && config.missing.length > 0);
    },
  ],

  ["snapshot() reads config, leases and agents at once", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const text = ' {"Network": "10.20.0.0/16", "x": "é\\u00e9"}\n';
    await lab.put(`${prefix}/config`, text);
    const one = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    const two = await store.createLease(net("10.20.2.0/24"), { publicIP: ip("192.0.2.2") }, 600);
    const agent = await store.putNodeRecord(ip("192.0.2.1"), record("host1"), 600, undefined);
    const { config, leases, agents } = await store.snapshot();
    assertEquals(config, { text });
    assertEquals(
      leases.map(withoutTtl).sort((a, b) => b!.subnet.address - a!.subnet.address),
      [one, two].map(withoutTtl),
    );
    assertEquals(agents, [agent]);
  }],

  ["snapshot() sees nothing of a network whose prefix begins alike", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await using other = await lab.open(`${prefix}b`);
    await lab.put(`${prefix}b/config`, "{}");
    await other.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    const { config, leases } = await store.snapshot();
    assert("missing" in config);
    assertEquals(leases, []);
  }],

  ["createLease() stores the value byte for byte as flannel of the store's time does", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    // From this on a store behind a server knows its form.
    await store.snapshot();
    const v6 = store.leaseForm === "v0.20" ? ',"PublicIPv6":null' : "";
    const created = await store.createLease(SUBNET, vxlan("172.28.128.101"), 86400);
    assertEquals(
      await lab.get(`${prefix}/subnets/10.20.93.0-24`),
      `{"PublicIP":"172.28.128.101"${v6},"BackendType":"vxlan",` +
        `"BackendData":{"VtepMAC":"c6:8a:3d:5f:56:2e"}}`,
    );
    assertEquals(created.subnet, SUBNET);
    assertEquals(created.ttl, 86400);

    await store.createLease(net("10.20.94.0/24"), { publicIP: ip("172.28.128.102") }, 86400);
    assertEquals(
      await lab.get(`${prefix}/subnets/10.20.94.0-24`),
      `{"PublicIP":"172.28.128.102"${v6}}`,
    );

    const odd = { ...vxlan("172.28.128.103"), backendType: "a+b &é", backendData: "100% = 🙂" };
    await store.createLease(net("10.20.95.0/24"), odd, 86400);
    assertEquals(
      await lab.get(`${prefix}/subnets/10.20.95.0-24`),
      `{"PublicIP":"172.28.128.103"${v6},"BackendType":"a+b \\u0026é","BackendData":"100% = 🙂"}`,
    );
    assertEquals((await store.lease(net("10.20.95.0/24")))?.attributes, odd);
  }],

  ["createLease() rejects when the subnet has a lease, whoever holds it", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    for (const publicIP of ["192.0.2.1", "192.0.2.2"]) {
      await assertRejects(() => store.createLease(SUBNET, vxlan(publicIP), 600), ConflictError);
    }
    assertEquals((await store.lease(SUBNET))?.attributes, vxlan("192.0.2.1"));
  }],

  ["createLease() lets exactly one of ten racers win", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const results = await Promise.allSettled(
      Array.from(
        { length: 10 },
        (_, i) => store.createLease(SUBNET, vxlan(`192.0.2.${i + 1}`), 600),
      ),
    );
    const won = results.filter((result) => result.status === "fulfilled");
    assertEquals(won.length, 1);
    for (const result of results) {
      if (result.status === "rejected") assert(result.reason instanceof ConflictError);
    }
    assertEquals(withoutTtl(await store.lease(SUBNET)), withoutTtl(won[0]!.value));
  }],

  ["lease() returns the ttl, and undefined for a subnet without lease", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    assertEquals(await store.lease(SUBNET), undefined);
    await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    const ttl = (await store.lease(SUBNET))?.ttl;
    assert(ttl !== undefined && ttl > 590 && ttl <= 600, `ttl ${ttl}`);
    // An operator's reservation: put without ttl.
    await lab.put(`${prefix}/subnets/10.20.7.0-24`, '{"PublicIP":"192.0.2.7"}');
    assertEquals((await store.lease(net("10.20.7.0/24")))?.ttl, PERMANENT);
  }],

  ["updateLease() writes attributes and lifetime again", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const before = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    const after = await store.updateLease(before, vxlan("192.0.2.1", "aa:bb:cc:dd:ee:ff"), 900);
    assertEquals(after.attributes, vxlan("192.0.2.1", "aa:bb:cc:dd:ee:ff"));
    assert(after.revision !== before.revision);
    const read = (await store.lease(SUBNET))!;
    assertEquals(withoutTtl(read), withoutTtl(after));
    assert(read.ttl! > 890 && read.ttl! <= 900);
  }],

  ["updateLease() keeps a permanent lease permanent and makes others so", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    await lab.put(`${prefix}/subnets/10.20.7.0-24`, '{"PublicIP":"192.0.2.7"}');
    const reserved = (await store.lease(net("10.20.7.0/24")))!;
    const mortal = await store.createLease(net("10.20.8.0/24"), vxlan("192.0.2.8"), 2);
    const doomed = await store.createLease(net("10.20.9.0/24"), vxlan("192.0.2.9"), PERMANENT);
    assertEquals(doomed.ttl, PERMANENT);
    for (const lease of [reserved, mortal]) {
      const { ttl } = await store.updateLease(lease, lease.attributes, PERMANENT);
      assertEquals(ttl, PERMANENT);
      assertEquals((await store.lease(lease.subnet))?.ttl, PERMANENT);
    }
    await store.updateLease(doomed, doomed.attributes, 1);
    while (await store.lease(doomed.subnet) !== undefined) await sleep(200);
    await sleep(1_500);
    const { leases } = await store.snapshot();
    assertEquals(leases.map(({ subnet }) => `${subnet}`).sort(), ["10.20.7.0/24", "10.20.8.0/24"]);
  }],

  ["updateLease() rejects when the lease was changed or removed since", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const key = `${prefix}/subnets/10.20.93.0-24`;
    const read = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    await lab.put(key, '{"PublicIP":"192.0.2.66"}');
    await assertRejects(() => store.updateLease(read, vxlan("192.0.2.1"), 600), ConflictError);
    assertEquals(await lab.get(key), '{"PublicIP":"192.0.2.66"}');
    const current = (await store.lease(SUBNET))!;
    await lab.delete(key);
    await assertRejects(() => store.updateLease(current, vxlan("192.0.2.1"), 600), ConflictError);
    assertEquals(await lab.get(key), undefined);
  }],

  ["removeLease() removes the lease that was read, and finds a gone one fine", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    const read = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    const now = await store.updateLease(read, vxlan("192.0.2.1"), 600);
    await assertRejects(() => store.removeLease(read), ConflictError);
    assert(await store.lease(SUBNET) !== undefined);
    await store.removeLease(now);
    assertEquals(await store.lease(SUBNET), undefined);
    await store.removeLease(now);
  }],

  ["putNodeRecord() writes over the expected revision only", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const address = ip("192.0.2.1");
    assertEquals(await store.agent(address), undefined);
    await assertRejects(
      () => store.putNodeRecord(address, record("host1"), 600, "1"),
      ConflictError,
    );
    const first = await store.putNodeRecord(address, record("host1", "a"), 600, undefined);
    await assertRejects(
      () => store.putNodeRecord(address, record("host2"), 600, undefined),
      ConflictError,
    );
    const { machineId, hostname, bootId, instance } = record("host1", "a");
    const claims = { machineId, hostname, bootId, instance };
    const claim = { ...record("host2", "b"), claims };
    const second = await store.putNodeRecord(address, claim, 600, first.revision);
    assertEquals(await store.agent(address), second);
    assertEquals(second.record, claim);
    await assertRejects(
      () => store.putNodeRecord(address, record("host1", "a"), 600, first.revision),
      ConflictError,
    );
    assertEquals((await store.agent(address))?.record.instance, "b");
  }],

  [
    "removeNodeRecord() removes a record that is still the one read, and no other",
    async ({ lab, prefix }) => {
      await using store = await lab.open(prefix);
      const address = ip("192.0.2.1");
      const first = await store.putNodeRecord(address, record("host1"), 600, undefined);
      const second = await store.putNodeRecord(address, record("host1"), 600, first.revision);
      await assertRejects(() => store.removeNodeRecord(first), ConflictError);
      assertEquals(await store.agent(address), second);
      await store.removeNodeRecord(second);
      assertEquals(await store.agent(address), undefined);
      // Gone already.
      await store.removeNodeRecord(second);
    },
  ],

  ["putConfig() writes over the expected text only", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const key = `${prefix}/config`;
    const [one, two] = [' {"Network": "10.20.0.0/16"}\n', '{"Network": "10.30.0.0/16", "é": "+&"}'];
    await assertRejects(() => store.putConfig(two, one), ConflictError);
    assertEquals(await lab.get(key), undefined);
    await store.putConfig(one, undefined);
    assertEquals(await lab.get(key), one);
    for (const expected of [undefined, two]) {
      await assertRejects(() => store.putConfig("{}", expected), ConflictError);
    }
    await store.putConfig(two, one);
    // As after an answer that was lost.
    await store.putConfig(two, one);
    assertEquals((await store.snapshot()).config, { text: two });
    // A config that an operator left empty can be written over, too.
    await lab.put(key, "");
    await store.putConfig(one, "");
    assertEquals(await lab.get(key), one);
  }],

  ["putConfig() lets exactly one of ten racers win", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => store.putConfig(`{"Racer":${i}}`, undefined)),
    );
    const winners = results.flatMap(({ status }, i) => status === "fulfilled" ? [i] : []);
    assertEquals(winners.length, 1);
    assertEquals(await lab.get(`${prefix}/config`), `{"Racer":${winners[0]}}`);
    for (const result of results) {
      if (result.status === "rejected") assert(result.reason instanceof ConflictError);
    }
  }],

  ["removeConfig() removes the expected text only, and no lease", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await store.removeConfig("{}");
    await store.putConfig("{}", undefined);
    const lease = await store.createLease(SUBNET, vxlan("192.0.2.1"), 600);
    await assertRejects(() => store.removeConfig('{"Network":"10.20.0.0/16"}'), ConflictError);
    assertEquals(await lab.get(`${prefix}/config`), "{}");
    await store.removeConfig("{}");
    assertEquals(await lab.get(`${prefix}/config`), undefined);
    assertEquals((await store.snapshot()).leases.map(withoutTtl), [withoutTtl(lease)]);
  }],

  ["entries that cannot be read are left out with one warning each", async (
    { lab, prefix, log },
  ) => {
    await using store = await lab.open(prefix);
    await lab.put(`${prefix}/subnets/10.20.1.0-24`, '{"PublicIP":"192.0.2.1"}');
    const bad = {
      [`${prefix}/subnets/10.20.2.0-24`]: "hello",
      [`${prefix}/subnets/10.20.3.0-24`]: '{"PublicIP":"192.0.2.300"}',
      [`${prefix}/subnets/10.20.4.0-24`]: "",
      [`${prefix}/subnets/10.20.5.5-24`]: '{"PublicIP":"192.0.2.5"}',
      [`${prefix}/subnets/10.20.6.0-24hi`]: '{"PublicIP":"192.0.2.6"}',
      [`${prefix}/subnets/foo`]: '{"PublicIP":"192.0.2.7"}',
      [`${prefix}/agents/192.0.2.8`]: "{}",
      [`${prefix}/agents/host9`]: JSON.stringify(record("host9")),
      [`${prefix}/notes`]: "the team's",
    };
    for (const [key, value] of Object.entries(bad)) await lab.put(key, value);
    // Another network below the same prefix, without a warning.
    await lab.put(`${prefix}/blue/config`, "{}");
    await lab.put(`${prefix}/blue/subnets/10.30.1.0-24`, '{"PublicIP":"192.0.2.10"}');
    for (let i = 0; i < 2; i++) {
      const { leases, agents } = await store.snapshot();
      assertEquals(leases.map(({ subnet }) => `${subnet}`), ["10.20.1.0/24"]);
      assertEquals(agents, []);
      assertEquals(await store.lease(net("10.20.2.0/24")), undefined);
      assertEquals(await store.agent(ip("192.0.2.8")), undefined);
    }
    const warned = log.map((line) => /\] Ignoring (.*?): /.exec(line)?.[1])
      .filter((key) => key !== undefined);
    assertEquals(warned.sort(), Object.keys(bad).sort());
  }],

  ["calls give up with the signal's reason", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await store.snapshot();
    const reason = new Error("enough");
    await assertRejects(
      () => store.snapshot({ signal: AbortSignal.abort(reason) }),
      Error,
      "enough",
    );
  }],
];

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
