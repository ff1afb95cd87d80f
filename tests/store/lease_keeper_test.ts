import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { type Lease, LEASE_TTL, type NodeRecord, PERMANENT } from "../../mod/lease/mod.ts";
import { type NetworkStore, StoreUnavailableError } from "../../mod/store/mod.ts";
import { ip, net, record, vxlan } from "../../mod/store/testing/store_lab.ts";
import { config, subnetCases } from "./subnet_lab.ts";
import { LeaseKeeper } from "../../mod/agent/lease/keeper.ts";
import { DuplicatePublicIPError } from "../../mod/subnet/mod.ts";
import { FakeTime } from "../../mod/agent/testing/time_lab.ts";

/** Agents pick no subnet below 10.20.9.0/24, so that tests can write leases there. */
const NETWORK = await config({
  ...{ Network: "10.20.0.0/16", SubnetMin: "10.20.9.0", Backend: { Type: "vxlan" } },
});
const IP = ip("192.0.2.1");
const OWN = vxlan("192.0.2.1");
const HOUR = 3600;
/** Milliseconds. */
const DISPUTE_RETRY = 2_000;

/** A keeper whose timers stand still, with what it was made of. */
class Fixture implements Disposable {
  readonly store: NetworkStore;
  /** For the keeper's timer alone; the store's are real. */
  readonly time = new FakeTime({ by: /\/agent\/core\/timer\.ts/ });
  readonly own: NodeRecord;
  readonly keeper: LeaseKeeper;
  due = 0;

  constructor(
    store: NetworkStore,
    own = record("host101", crypto.randomUUID()),
    keepsFeature: (feature: string) => boolean = () => true,
  ) {
    this.store = store;
    this.own = own;
    this.keeper = new LeaseKeeper({
      store,
      record: own,
      renewMargin: HOUR,
      disputeRetry: DISPUTE_RETRY,
      keepsFeature,
      onDue: () => this.due++,
      signal: new AbortController().signal,
    });
  }

  /** Becomes holder and leases a subnet, as the agent does. */
  async start(): Promise<Lease> {
    await this.keeper.identify(IP);
    return await this.keeper.acquire(NETWORK, OWN, undefined, undefined);
  }

  /** Sees to it that the next renewal is due in so many seconds, less the jitter. */
  assertPlanned(seconds: number): void {
    const [delay, ...more] = this.time.planned;
    assertEquals(more, []);
    const latest = seconds * 1000;
    // A quarter of the wait, and a second or two that the store's rounding and the test may take.
    const earliest = latest - seconds * 250 - 2000;
    assert(delay! <= latest && delay! >= earliest, `${delay} ms, not about ${latest}`);
  }

  /** The lease as the store has it. */
  async stored(): Promise<Lease | undefined> {
    return await this.store.lease(this.keeper.lease!.subnet);
  }

  [Symbol.dispose](): void {
    this.keeper[Symbol.dispose]();
    this.time[Symbol.dispose]();
  }
}

subnetCases("LeaseKeeper", [
  ["LeaseKeeper.acquire() holds a lease and plans its renewal", async ({ store }) => {
    using fixture = new Fixture(store);
    assertEquals(fixture.keeper.lease, undefined);
    const lease = await fixture.start();
    assertEquals(fixture.keeper.lease, lease);
    assertEquals((await fixture.stored())?.revision, lease.revision);
    assertEquals((await store.agent(IP))?.record, fixture.own);
    fixture.assertPlanned(23 * HOUR);
    fixture.time.tick(23 * HOUR * 1000);
    assertEquals(fixture.due, 1);
  }],

  ["LeaseKeeper.removeSurplus() removes a second lease of this host, and no other", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    const held = await fixture.start();
    const second = await store.createLease(net("10.20.1.0/24"), OWN, 1000);
    const kept = [
      held,
      await store.createLease(net("10.20.2.0/24"), OWN, PERMANENT),
      await store.createLease(net("10.20.3.0/24"), vxlan("192.0.2.2"), 1000),
      // As another host with this public IP would write it.
      await store.createLease(net("10.20.4.0/24"), vxlan("192.0.2.1", "0e:00:00:00:00:01"), 1000),
    ];
    const { leases } = await store.snapshot();
    await fixture.keeper.removeSurplus(leases, OWN);
    const subnets = (found: readonly Lease[]) => found.map(({ subnet }) => `${subnet}`).sort();
    assertEquals(subnets((await store.snapshot()).leases), subnets(kept));
    // An object that was changed since it was read is left.
    const again = await store.createLease(second.subnet, OWN, 1000);
    await fixture.keeper.removeSurplus([second], OWN);
    assertEquals((await store.lease(second.subnet))?.revision, again.revision);
  }],

  ["LeaseKeeper.knowsFormerLease is true after a record of this machine", async ({ store }) => {
    using first = new Fixture(store);
    await first.start();
    assertEquals(first.keeper.knowsFormerLease, false);
    using restarted = new Fixture(store);
    await restarted.keeper.identify(IP);
    assertEquals(restarted.keeper.knowsFormerLease, true);
    const { revision } = (await store.agent(IP))!;
    await restarted.keeper.identify(IP);
    assertEquals((await store.agent(IP))?.revision, revision);
  }],

  ["LeaseKeeper.announce() writes features into the record, once, and takes them out", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    await fixture.start();
    await fixture.keeper.announce([]);
    assertEquals((await store.agent(IP))?.record, fixture.own);
    await fixture.keeper.announce(["x"]);
    const stored = (await store.agent(IP))!;
    assertEquals(stored.record, { ...fixture.own, features: ["x"] });
    await fixture.keeper.announce(["x"]);
    assertEquals((await store.agent(IP))?.revision, stored.revision);
    // A renewal keeps them.
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals((await store.agent(IP))?.record.features, ["x"]);
    await fixture.keeper.announce([]);
    assertEquals((await store.agent(IP))?.record, fixture.own);
  }],

  ["LeaseKeeper.identify() goes on with the features of its boot, and with no others", async (
    { store },
  ) => {
    using first = new Fixture(store);
    await first.start();
    await first.keeper.announce(["x"]);
    using restarted = new Fixture(store);
    await restarted.keeper.identify(IP);
    assertEquals((await store.agent(IP))?.record.features, ["x"]);
    await restarted.keeper.announce([]);
    assertEquals((await store.agent(IP))?.record, restarted.own);

    await restarted.keeper.announce(["x"]);
    const rebooted = { ...record("host101", crypto.randomUUID()), bootId: crypto.randomUUID() };
    using later = new Fixture(store, rebooted);
    await later.keeper.identify(IP);
    assertEquals((await store.agent(IP))?.record, rebooted);
  }],

  ["LeaseKeeper.identify() removes a feature that no longer applies", async ({ store }) => {
    using first = new Fixture(store);
    await first.start();
    await first.keeper.announce(["x", "y"]);
    using restarted = new Fixture(store, undefined, (feature) => feature !== "x");
    await restarted.keeper.identify(IP);
    assertEquals((await store.agent(IP))?.record.features, ["y"]);
  }],

  [
    "LeaseKeeper.acquire() logs the backend's reason when the lease has no node record",
    async (
      { store, log },
    ) => {
      // Upstream flannel writes a lease but no node record.
      await store.createLease(net("10.20.9.0/24"), vxlan("192.0.2.1", "0e:00:00:00:00:01"), 1000);
      const reason = ({ subnet }: Lease) => `the MAC of ${subnet} is another`;
      using fixture = new Fixture(store);
      await fixture.keeper.identify(IP);
      const lease = await fixture.keeper.acquire(NETWORK, OWN, undefined, reason);
      assertEquals(lease.subnet, net("10.20.9.0/24"));
      const warnings = () => log.filter((line) => line.startsWith("W "));
      assertEquals(warnings().length, 1);
      assertMatch(
        warnings()[0]!,
        /^W lease 10\.20\.9\.0\/24 has this host's public IP, but the MAC of .* -iface or -public-ip$/,
      );
      using restarted = new Fixture(store);
      await restarted.keeper.identify(IP);
      await restarted.keeper.acquire(NETWORK, OWN, undefined, reason);
      assertEquals(warnings().length, 1);
    },
  ],

  ["LeaseKeeper.renew() renews lease and record", async ({ store, log }) => {
    using fixture = new Fixture(store);
    const { keeper } = fixture;
    const first = await fixture.start();
    const before = (await store.agent(IP))!;
    await new Promise((resolve) => setTimeout(resolve, 2100));
    const aged = (await fixture.stored())!;
    assert(aged.ttl! < LEASE_TTL - 1, String(aged.ttl));
    assertEquals(await keeper.renew(), true);

    const renewed = (await fixture.stored())!;
    assert(renewed.ttl! >= LEASE_TTL - 1, String(renewed.ttl));
    assertEquals([renewed.subnet, renewed.attributes], [first.subnet, OWN]);
    assert(renewed.revision !== first.revision);
    assertEquals(keeper.lease?.revision, renewed.revision);
    const after = (await store.agent(IP))!;
    assertEquals(after.record, before.record);
    assert(after.revision !== before.revision);
    fixture.assertPlanned(23 * HOUR);

    const line = log.at(-1)!;
    const [, expires] = /^I Lease renewed, new expiration: (\S+Z)$/.exec(line)!;
    assert(Math.abs(Date.parse(expires!) - Date.now() - LEASE_TTL * 1000) < 60_000, line);
    // Again and again, each from where the last one left.
    assertEquals([await keeper.renew(), await keeper.renew()], [true, true]);
    assertEquals(log.filter((line) => !line.startsWith("I ")), []);
  }],

  ["LeaseKeeper.renew() returns false when the lease is gone", async ({ store }) => {
    using fixture = new Fixture(store);
    const lease = await fixture.start();
    await store.removeLease(lease);
    assertEquals(await fixture.keeper.renew(), false);
    assertEquals([fixture.keeper.lease, fixture.time.planned], [undefined, []]);
    assertEquals(await store.lease(lease.subnet), undefined);
    assertEquals(await fixture.keeper.renew(), false);
  }],

  ["LeaseKeeper.renew() does not touch a lease that another host has taken over", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    const lease = await fixture.start();
    await store.removeLease(lease);
    const other = await store.createLease(lease.subnet, vxlan("192.0.2.2"), 1000);
    assertEquals(await fixture.keeper.renew(), false);
    assertEquals((await store.lease(lease.subnet))?.revision, other.revision);
  }],

  ["LeaseKeeper.renew() keeps a lease permanent that an operator made so", async ({ store }) => {
    using fixture = new Fixture(store);
    const lease = await fixture.start();
    await store.updateLease(lease, OWN, PERMANENT);
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals(fixture.keeper.lease?.ttl, PERMANENT);
    assertEquals((await fixture.stored())?.ttl, PERMANENT);
    assertEquals(fixture.time.planned, []);
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals((await fixture.stored())?.ttl, PERMANENT);
  }],

  ["LeaseKeeper.renew() is due in a minute at the soonest, whatever the store grants", async (
    { store },
  ) => {
    // As a server returns it whose clock is a day ahead of its etcd's.
    const update = store.updateLease.bind(store);
    store.updateLease = async (...request) => ({ ...await update(...request), ttl: 1 });
    using fixture = new Fixture(store);
    const lease = await fixture.start();
    for (let i = 0; i < 2; i++) {
      assertEquals(await fixture.keeper.renew(), true);
      assertEquals(fixture.time.planned, [60_000]);
    }
    // A lease that another writer has shortened is renewed at once.
    const held = (await store.lease(lease.subnet))!;
    const short = await update(held, OWN, 30);
    assertEquals(await fixture.keeper.observe(short, OWN), true);
    assertEquals(fixture.time.planned, [0]);
  }],

  ["LeaseKeeper.renew() refuses the claim of a newcomer instead of overwriting it", async (
    { store, log },
  ) => {
    using fixture = new Fixture(store);
    await fixture.start();
    const { machineId, hostname, bootId, instance } = fixture.own;
    const claims = { machineId, hostname, bootId, instance };
    const { revision } = (await store.agent(IP))!;
    await store.putNodeRecord(IP, { ...record("host102", "new"), claims }, LEASE_TTL, revision);
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals((await store.agent(IP))?.record.instance, instance);
    assertMatch(log.at(-1)!, /^W Host host102 wants to use our public IP 192\.0\.2\.1; refused/);
  }],

  ["LeaseKeeper.renew() writes an expired record again", async ({ store }) => {
    using fixture = new Fixture(store);
    await fixture.start();
    const { record, revision } = (await store.agent(IP))!;
    await store.putNodeRecord(IP, record, 1, revision);
    while (await store.agent(IP) !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals((await store.agent(IP))?.record, fixture.own);
  }],

  ["LeaseKeeper.observe() recognizes this host's own writes", async ({ store }) => {
    using fixture = new Fixture(store);
    const { keeper } = fixture;
    const lease = await fixture.start();
    const planned = fixture.time.planned;
    assertEquals(await keeper.observe(lease, OWN), true);
    await keeper.renew();
    assertEquals(await keeper.observe(keeper.lease, OWN), true);
    assertEquals(fixture.time.planned.length, planned.length);
  }],

  ["LeaseKeeper.observe() ignores reports from before this host's own writes", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    const { keeper } = fixture;
    // The lease as an earlier boot left it, close to its end.
    const old = await store.createLease(
      net("10.20.9.0/24"),
      vxlan("192.0.2.1", "0e:00:00:00:00:01"),
      60,
    );
    const lease = await fixture.start();
    assertEquals(lease.subnet, old.subnet);
    for (const stale of [undefined, old]) {
      assertEquals(await keeper.observe(stale, OWN), true);
      assertEquals(keeper.lease, lease);
      fixture.assertPlanned(23 * HOUR);
    }
  }],

  [
    "LeaseKeeper.observe() returns false after a removal or a change by another writer",
    async ({ store }) => {
      for (const change of ["removal", "change"]) {
        using fixture = new Fixture(store);
        const { keeper } = fixture;
        const lease = await fixture.start();
        let seen: Lease | undefined;
        if (change === "removal") await store.removeLease(lease);
        else seen = await store.updateLease(lease, vxlan("192.0.2.66"), 1000);
        assertEquals(await keeper.observe(seen, OWN), false);
        assertEquals([keeper.lease, fixture.time.planned], [undefined, []]);
        // Without a lease every call returns false.
        assertEquals(await keeper.observe(seen, OWN), false);
      }
    },
  ],

  ["LeaseKeeper.observe() follows an operator who makes the lease permanent, and back", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    const { keeper } = fixture;
    const permanent = await store.updateLease(await fixture.start(), OWN, PERMANENT);
    assertEquals(await keeper.observe(permanent, OWN), true);
    assertEquals([keeper.lease?.ttl, fixture.time.planned], [PERMANENT, []]);
    const { ttl: _, ...untold } = await store.updateLease(permanent, OWN, 5 * HOUR);
    assertEquals(await keeper.observe(untold, OWN), true);
    fixture.assertPlanned(4 * HOUR);
    assertEquals(await keeper.renew(), true);
    fixture.assertPlanned(23 * HOUR);
  }],

  [
    "LeaseKeeper.observe() keeps a lease whose value was written with its keys in another order",
    async (
      { store, putRaw },
    ) => {
      using fixture = new Fixture(store);
      const lease = await fixture.start();
      const key = `subnets/${lease.subnet}`.replace("/24", "-24");
      await putRaw(
        key,
        '{ "BackendData": {"VtepMAC": "c6:8a:3d:5f:56:2e"}, "BackendType": "vxlan",' +
          ' "PublicIP": "192.0.2.1" }',
      );
      assertEquals(await fixture.keeper.observe(await fixture.stored(), OWN), true);
      assertEquals(fixture.keeper.lease?.ttl, PERMANENT);
    },
  ],

  ["LeaseKeeper.guard() refuses a newcomer, and does nothing before there is a record", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    await fixture.keeper.guard(undefined);
    assertEquals(await store.agent(IP), undefined);
    await fixture.start();
    const { machineId, hostname, bootId, instance } = fixture.own;
    const claims = { machineId, hostname, bootId, instance };
    const { revision } = (await store.agent(IP))!;
    const claim = { ...record("host102", "new"), claims };
    const claimed = await store.putNodeRecord(IP, claim, LEASE_TTL, revision);
    await fixture.keeper.guard(claimed);
    const stands = (await store.agent(IP))!;
    assertEquals([stands.record.instance, stands.record.refuses], [instance, "new"]);
    // The next renewal of the record starts from there.
    assertEquals(await fixture.keeper.renew(), true);
    assertEquals((await store.agent(IP))?.record.instance, instance);
  }],

  ["LeaseKeeper.guard() asks for a public IP that was taken, but not at once", async (
    { store },
  ) => {
    using fixture = new Fixture(store);
    const { keeper, own } = fixture;
    await fixture.start();
    /** Writes the record of another agent of this boot, as anybody can who has read it. */
    const displace = async () => {
      const { revision } = (await store.agent(IP))!;
      return await store.putNodeRecord(IP, { ...own, instance: "other" }, LEASE_TTL, revision);
    };
    const taken = await displace();
    for (let i = 0; i < 2; i++) {
      await assertRejects(() => keeper.guard(taken), DuplicatePublicIPError);
      assertThrows(() => keeper.requireIdentity(), DuplicatePublicIPError);
    }
    assertEquals((await store.agent(IP))?.record.instance, "other");
    await new Promise((resolve) => setTimeout(resolve, DISPUTE_RETRY));
    keeper.requireIdentity();
    await keeper.guard(taken);
    assertEquals((await store.agent(IP))?.record.instance, own.instance);
    await assertRejects(async () => keeper.guard(await displace()), DuplicatePublicIPError);
  }],

  ["LeaseKeeper.renew() tries again in a minute when the store is away", async (
    { store, log, stop, resume },
  ) => {
    using fixture = new Fixture(store);
    const { keeper, time } = fixture;
    const lease = await fixture.start();
    await stop();
    assertEquals(await keeper.renew(), true);
    assertMatch(log.at(-1)!, /^E Error renewing lease \(trying again in 1 min\): \S.*/);
    assertEquals([time.planned, keeper.lease], [[60_000], lease]);
    time.tick(60_000);
    assertEquals(fixture.due, 1);
    assertEquals(await keeper.renew(), true);
    assertEquals(time.planned, [60_000]);
    await resume();
    assertEquals(await keeper.renew(), true);
    assertMatch(log.at(-1)!, /^I Lease renewed/);
    fixture.assertPlanned(23 * HOUR);
  }],

  ["LeaseKeeper.renew() tries again in a minute when only the lease could be renewed", async (
    { store, log },
  ) => {
    let away = false;
    const failing = new Proxy(store, {
      get(target, key) {
        if (key === "putNodeRecord" && away) {
          return () => Promise.reject(new StoreUnavailableError("no endpoint answers"));
        }
        const member = Reflect.get(target, key);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    using fixture = new Fixture(failing);
    const lease = await fixture.start();
    away = true;
    assertEquals(await fixture.keeper.renew(), true);
    assert((await fixture.stored())!.revision !== lease.revision);
    assertEquals(
      log.at(-1),
      "E Error renewing lease (trying again in 1 min): no endpoint answers",
    );
    assertEquals(fixture.time.planned, [60_000]);
  }],

  ["LeaseKeeper moves record and lease to another public IP", async ({ store }) => {
    using fixture = new Fixture(store);
    const { keeper } = fixture;
    const lease = await fixture.start();
    const moved = ip("192.0.2.9");
    await keeper.identify(moved);
    const taken = await keeper.acquire(NETWORK, vxlan("192.0.2.9"), lease.subnet, undefined);
    assertEquals(taken.subnet, lease.subnet);
    assertEquals((await store.agent(moved))?.record, fixture.own);
    // Nobody who comes to the old address need ask for us.
    const until = Date.now() + 10_000;
    while (await store.agent(IP) !== undefined) {
      assert(Date.now() < until, "the record of the former public IP stays");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    // From now on the keeper renews and guards the new record.
    await keeper.guard(undefined);
    assertEquals(await keeper.renew(), true);
    assertEquals(await store.agent(IP), undefined);
    assertEquals((await store.agent(moved))?.record, fixture.own);
  }],

  [
    "LeaseKeeper takes its lease along, though the store failed in the middle",
    async ({ store }) => {
      let away = false;
      const failing = new Proxy(store, {
        get(target, key) {
          if (key === "updateLease" && away) {
            return () => Promise.reject(new StoreUnavailableError("no endpoint answers"));
          }
          const member = Reflect.get(target, key);
          return typeof member === "function" ? member.bind(target) : member;
        },
      });
      using fixture = new Fixture(failing);
      const { keeper } = fixture;
      const lease = await fixture.start();
      await keeper.identify(ip("192.0.2.9"));
      const move = () => keeper.acquire(NETWORK, vxlan("192.0.2.9"), lease.subnet, undefined);
      away = true;
      await assertRejects(move, StoreUnavailableError);
      assertEquals(keeper.lease, undefined);
      away = false;
      assertEquals((await move()).subnet, lease.subnet);
    },
  ],

  ["LeaseKeeper.identify() leaves a former public IP to its claimant", async (
    { store, log },
  ) => {
    using fixture = new Fixture(store);
    await fixture.start();
    const { revision } = (await store.agent(IP))!;
    const other = await store.putNodeRecord(IP, record("host102", "new"), LEASE_TTL, revision);
    await fixture.keeper.identify(ip("192.0.2.9"));
    assertEquals((await store.agent(IP))?.revision, other.revision);
    assertMatch(
      log.at(-1)!,
      /^I cannot remove the node record of the former public IP 192\.0\.2\.1: /,
    );
  }],

  ["LeaseKeeper leaves no timer behind", async ({ store }) => {
    using fixture = new Fixture(store);
    await fixture.start();
    fixture.keeper[Symbol.dispose]();
    assertEquals(fixture.time.planned, []);
  }],
]);
