import { assertEquals, assertRejects } from "@std/assert";
import { ip, net, vxlan } from "../../mod/store/testing/store_lab.ts";
import { type NodeRecord, PERMANENT } from "../../mod/lease/mod.ts";
import { ConflictError, StoreError } from "../../mod/store/mod.ts";
import {
  evictHost,
  findHostEntries,
  releaseLease,
  releaseReservation,
  ReservationError,
  reserveSubnet,
} from "../../mod/subnet/reserve.ts";
import { subnetCases } from "./subnet_lab.ts";

const CONFIG = '{"Network":"10.20.0.0/16"}';
const SUBNET = net("10.20.5.0/24");
const HOST = ip("192.0.2.5");
const RECORD: NodeRecord = {
  ...{ hostname: "host5", machineId: "m", bootId: "b", instance: "i" },
  ...{ version: "0.1.0", started: "2026-01-02T03:04:05Z" },
};

subnetCases("reserveSubnet()", [
  ["keeps a free subnet for a host, and its own lease for good", async ({ store, putRaw }) => {
    await putRaw("config", CONFIG);
    const free = await reserveSubnet(store, SUBNET, HOST);
    assertEquals([free.attributes, free.ttl], [{ publicIP: HOST }, PERMANENT]);

    const other = net("10.20.6.0/24");
    await store.createLease(other, vxlan("192.0.2.5"), 600);
    const kept = await reserveSubnet(store, other, HOST);
    assertEquals([kept.attributes, kept.ttl], [vxlan("192.0.2.5"), PERMANENT]);
    // Once more changes nothing.
    await reserveSubnet(store, other, HOST);
    assertEquals((await store.lease(other))?.ttl, PERMANENT);
  }],

  ["rejects what flannel rejects, in its words", async ({ store, putRaw }) => {
    await assertRejects(() => reserveSubnet(store, SUBNET, HOST), StoreError, "no network config");
    await putRaw("config", CONFIG);
    await store.createLease(SUBNET, vxlan("192.0.2.66"), 600);
    for (
      const [subnet, words] of [
        ["10.20.6.0/25", "reservation subnet has mask incompatible with network config"],
        ["10.21.5.0/24", "reservation subnet is outside of flannel network"],
        ["10.20.5.0/24", "subnet: lease already taken"],
      ] as const
    ) {
      await assertRejects(() => reserveSubnet(store, net(subnet), HOST), ReservationError, words);
    }
    assertEquals((await store.snapshot()).leases.length, 1);
    assertEquals((await store.lease(SUBNET))?.attributes, vxlan("192.0.2.66"));
  }],

  ["rejects what overlaps a lease of another length", async ({ store, putRaw }) => {
    await putRaw("config", CONFIG);
    await store.createLease(net("10.20.4.0/22"), vxlan("192.0.2.66"), 600);
    await assertRejects(() => reserveSubnet(store, SUBNET, HOST), ReservationError, "10.20.4.0/22");
  }],

  ["lets one of two hosts have a subnet", async ({ store, another, putRaw }) => {
    await putRaw("config", CONFIG);
    const results = await Promise.allSettled([
      reserveSubnet(store, SUBNET, HOST),
      reserveSubnet(await another(), SUBNET, ip("192.0.2.6")),
    ]);
    assertEquals(results.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    const [lost] = results.filter((result) => result.status === "rejected");
    assertEquals((lost!.reason as Error).name, "ReservationError");
  }],
]);

subnetCases("releaseReservation()", [
  ["gives a reservation 24 hours, and says what is none", async ({ store, putRaw }) => {
    await putRaw("config", CONFIG);
    await reserveSubnet(store, SUBNET, HOST);
    assertEquals((await releaseReservation(store, SUBNET)).ttl, 86_400);
    const ttl = (await store.lease(SUBNET))!.ttl!;
    assertEquals(ttl > 86_390 && ttl <= 86_400, true, `${ttl}`);
    await assertRejects(() => releaseReservation(store, SUBNET), ReservationError, "192.0.2.5");
    await assertRejects(
      () => releaseReservation(store, net("10.20.9.0/24")),
      ReservationError,
      "not reserved",
    );
  }],
]);

subnetCases("releaseLease()", [
  ["removes a lease, reserved or not, and rejects a subnet without one", async (lab) => {
    const { store } = lab;
    await lab.putRaw("config", CONFIG);
    await reserveSubnet(store, SUBNET, HOST);
    const other = net("10.20.6.0/24");
    await store.createLease(other, vxlan("192.0.2.66"), 600);
    assertEquals((await releaseLease(store, SUBNET)).attributes.publicIP, HOST);
    await releaseLease(store, other);
    assertEquals((await store.snapshot()).leases, []);
    await assertRejects(() => releaseLease(store, other), ReservationError, "is not leased");
  }],
]);

subnetCases("evictHost()", [
  ["removes what a host has but its reservation, and nothing of another host", async (lab) => {
    const { store } = lab;
    await lab.putRaw("config", CONFIG);
    await reserveSubnet(store, SUBNET, HOST);
    const [own, foreign] = [net("10.20.6.0/24"), net("10.20.7.0/24")];
    await store.createLease(own, vxlan("192.0.2.5"), 600);
    await store.createLease(foreign, vxlan("192.0.2.66"), 600);
    await store.putNodeRecord(HOST, RECORD, 600, undefined);
    await store.putNodeRecord(ip("192.0.2.66"), RECORD, 600, undefined);

    const entries = await findHostEntries(store, HOST);
    assertEquals(entries.leases.map(({ subnet }) => `${subnet}`), [`${own}`]);
    assertEquals(entries.reserved.map(({ subnet }) => `${subnet}`), [`${SUBNET}`]);
    assertEquals(entries.record?.record.hostname, "host5");
    await evictHost(store, entries);
    const { leases, agents } = await store.snapshot();
    assertEquals(leases.map(({ subnet }) => `${subnet}`).sort(), [`${SUBNET}`, `${foreign}`]);
    assertEquals(agents.map(({ publicIP }) => publicIP), [ip("192.0.2.66")]);
    await assertRejects(() => findHostEntries(store, HOST), ReservationError, "no node record");
  }],

  ["leaves a host that has renewed its lease meanwhile", async ({ store, putRaw }) => {
    await putRaw("config", CONFIG);
    const lease = await store.createLease(SUBNET, vxlan("192.0.2.5"), 600);
    const entries = await findHostEntries(store, HOST);
    await store.updateLease(lease, vxlan("192.0.2.5"), 86_400);
    await assertRejects(() => evictHost(store, entries), ConflictError);
    assertEquals((await store.snapshot()).leases.length, 1);
  }],
]);
