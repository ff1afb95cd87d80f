import { assert, assertEquals, assertRejects } from "@std/assert";
import type { NetworkConfig } from "../../mod/config/mod.ts";
import type { Prefix } from "../../mod/ip/mod.ts";
import { type Lease, LEASE_TTL, PERMANENT } from "../../mod/lease/mod.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import { ip, net, vxlan } from "../../mod/store/testing/store_lab.ts";
import { AcquireError, acquireLease, OutOfSubnetsError } from "../../mod/subnet/acquire.ts";
import { isCompatible } from "../../mod/subnet/pick.ts";
import { config, subnetCases } from "./subnet_lab.ts";

const GUIDE = await config({ Network: "10.20.0.0/16", Backend: { Type: "vxlan" } });

/** Room for four hosts: 10.21.0.64, .80, .96 and .112, each /28. */
const SMALL = await config({
  Network: "10.21.0.0/24",
  SubnetLen: 28,
  SubnetMin: "10.21.0.64",
  SubnetMax: "10.21.0.112",
});

const OWN = vxlan("192.0.2.1");
const OTHER = vxlan("192.0.2.2", "0a:00:00:00:00:02");

/** The lease of an agent that starts. */
async function subnets(store: NetworkStore): Promise<string[]> {
  const { leases } = await store.snapshot();
  return leases.map(({ subnet }) => String(subnet)).sort();
}

/** Fills a small network with leases of others, but for those left free. */
async function fill(store: NetworkStore, free: readonly string[] = []): Promise<Lease[]> {
  const all = ["10.21.0.64/28", "10.21.0.80/28", "10.21.0.96/28", "10.21.0.112/28"];
  const leases: Lease[] = [];
  for (const [i, subnet] of all.entries()) {
    if (free.includes(subnet)) continue;
    leases.push(await store.createLease(net(subnet), vxlan(`192.0.2.${i + 100}`), LEASE_TTL));
  }
  return leases;
}

/** The store, where a rival is always a moment quicker to create what the agent picks. */
function withRival(store: NetworkStore, rival: NetworkStore, wins = Infinity): NetworkStore {
  let won = 0;
  const createLease: NetworkStore["createLease"] = async (subnet, attributes, ttl, options) => {
    if (won++ < wins) await rival.createLease(subnet, vxlan(`192.0.2.${100 + won}`), ttl);
    return await store.createLease(subnet, attributes, ttl, options);
  };
  return new Proxy(store, {
    get(target, key) {
      if (key === "createLease") return createLease;
      const member = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

subnetCases("acquireLease()", [
  ["acquireLease() takes no subnet that this host cannot use", async ({ store, log }) => {
    const unusable = ["10.21.0.64/28", "10.21.0.80/29", "10.21.0.96/27"].map((text) => ({
      ...{ prefix: net(text), reason: `meets ${text}` },
    }));
    const held = await store.createLease(net("10.21.0.64/28"), OWN, LEASE_TTL);
    // The first two are in the way of three of the four.
    const options = { previous: held.subnet, unusable: unusable.slice(0, 2) };
    const lease = await acquireLease(store, SMALL, OWN, options);
    assert(
      ["10.21.0.96/28", "10.21.0.112/28"].includes(String(lease.subnet)),
      String(lease.subnet),
    );
    assertEquals(await subnets(store), [String(lease.subnet)]);
    const line = "I Found lease (10.21.0.64/28) for current IP (192.0.2.1) but it meets " +
      "10.21.0.64/28, deleting";
    assert(log.includes(line), log.join("\n"));

    await store.removeLease(lease);
    const error = await assertRejects(
      () => acquireLease(store, SMALL, OWN, { previous: held.subnet, unusable }),
      OutOfSubnetsError,
    );
    assert(
      error.message.endsWith("or cannot be used on this host: one meets 10.21.0.64/28, and 2 more"),
      error.message,
    );
    assertEquals(await subnets(store), []);
  }],

  ["acquireLease() leaves a reservation that this host cannot use in place", async ({ store }) => {
    const { subnet } = await store.createLease(net("10.21.0.64/28"), OWN, PERMANENT);
    const unusable = [{ prefix: subnet, reason: "meets 10.21.0.64/28" }];
    const error = await assertRejects(
      () => acquireLease(store, SMALL, OWN, { unusable }),
      AcquireError,
    );
    assertEquals(
      error.message,
      "10.21.0.64/28 is reserved for this host, which cannot use it: it meets 10.21.0.64/28",
    );
    assertEquals(await subnets(store), ["10.21.0.64/28"]);
  }],

  ["acquireLease() takes a subnet of the range for a day", async ({ store, log }) => {
    const lease = await acquireLease(store, GUIDE, OWN);
    assert(isCompatible(GUIDE, lease.subnet), String(lease.subnet));
    assertEquals(lease.attributes, OWN);
    assertEquals(lease.ttl, LEASE_TTL);
    const stored = (await store.lease(lease.subnet))!;
    assertEquals({ ...stored, ttl: 0 }, { ...lease, ttl: 0 });
    assert(stored.ttl! > LEASE_TTL - 10 && stored.ttl! <= LEASE_TTL, String(stored.ttl));
    assertEquals(log, [
      "I Picking subnet in range 10.20.1.0 ... 10.20.255.0",
      `I Lease acquired: ${lease.subnet}`,
    ]);
  }],

  ["acquireLease() chooses with the given random numbers", async ({ store }) => {
    const lease = await acquireLease(store, GUIDE, OWN, { random: () => 0.5 });
    assertEquals(String(lease.subnet), "10.20.51.0/24");
  }],

  ["acquireLease() takes the lease that is held along to another public IP", async (
    { store, log },
  ) => {
    const held = await acquireLease(store, GUIDE, OWN);
    const moved = await acquireLease(store, GUIDE, vxlan("192.0.2.9"), {
      held,
      previous: held.subnet,
    });
    assertEquals([moved.subnet, moved.attributes], [held.subnet, vxlan("192.0.2.9")]);
    assertEquals(await subnets(store), [String(held.subnet)]);
    assertEquals(
      log.at(-2),
      `I Moving lease (${held.subnet}) from IP 192.0.2.1 to 192.0.2.9`,
    );
    assertEquals((await store.lease(held.subnet))?.attributes, vxlan("192.0.2.9"));
  }],

  ["acquireLease() takes no lease along that is not as it was held", async ({ store }) => {
    const held = await acquireLease(store, GUIDE, OWN);
    // Somebody has given the subnet away meanwhile.
    const other = await store.updateLease(held, OTHER, LEASE_TTL);
    const lease = await acquireLease(store, GUIDE, vxlan("192.0.2.9"), {
      held,
      previous: held.subnet,
    });
    assert(!lease.subnet.equals(held.subnet));
    assertEquals((await store.lease(held.subnet))?.revision, other.revision);
  }],

  ["acquireLease() reuses the lease of the same public IP, with its new attributes", async (
    { store, another, log },
  ) => {
    await acquireLease(store, GUIDE, OTHER);
    const first = await acquireLease(store, GUIDE, OWN);
    const rebooted = vxlan("192.0.2.1", "0e:11:22:33:44:55");
    const restarted = await another();
    // Whatever it had before and wherever the dice fall.
    const again = await acquireLease(restarted, GUIDE, rebooted, {
      previous: net("10.20.77.0/24"),
    });
    assertEquals(again.subnet, first.subnet);
    assertEquals((await store.lease(first.subnet))?.attributes, rebooted);
    assertEquals((await subnets(store)).length, 2);
    assertEquals(log.slice(-2), [
      `I Found lease (${first.subnet}) for current IP (192.0.2.1), reusing`,
      `I Lease acquired: ${first.subnet}`,
    ]);
  }],

  ["acquireLease() renews what it reuses", async ({ store }) => {
    await store.createLease(net("10.20.9.0/24"), OWN, 100);
    const lease = await acquireLease(store, GUIDE, OWN);
    assertEquals(String(lease.subnet), "10.20.9.0/24");
    assert((await store.lease(lease.subnet))!.ttl! > 1000);
  }],

  ["acquireLease() keeps a permanent lease permanent", async ({ store }) => {
    const reserved = net("10.20.9.0/24");
    await store.createLease(reserved, vxlan("192.0.2.1", "0e:00:00:00:00:01"), PERMANENT);
    for (let start = 0; start < 2; start++) {
      const lease = await acquireLease(store, GUIDE, OWN);
      assertEquals([lease.subnet, lease.ttl], [reserved, PERMANENT]);
      const stored = await store.lease(reserved);
      assertEquals([stored?.ttl, stored?.attributes], [PERMANENT, OWN]);
    }
  }],

  ["acquireLease() takes of several own leases the one it had last", async ({ store }) => {
    for (const subnet of ["10.20.7.0/24", "10.20.8.0/24", "10.20.9.0/24"]) {
      await store.createLease(net(subnet), OWN, LEASE_TTL);
    }
    const lease = await acquireLease(store, GUIDE, OWN, { previous: net("10.20.8.0/24") });
    assertEquals(String(lease.subnet), "10.20.8.0/24");
  }],

  ["acquireLease() moves to the new range when the config has changed", async (
    { store, log },
  ) => {
    const first = await acquireLease(store, GUIDE, OWN);
    const changed = await config({ Network: "10.4.0.0/16" });
    const second = await acquireLease(store, changed, OWN, { previous: first.subnet });
    assert(isCompatible(changed, second.subnet));
    assertEquals(await subnets(store), [String(second.subnet)]);
    assertEquals(
      log.filter((line) => !/Picking|acquired/.test(line)),
      [
        `I Found lease (${first.subnet}) for current IP (192.0.2.1) but not compatible with ` +
        `current config, deleting`,
        `W Previous subnet (${first.subnet}) is not within the current config, ignoring`,
      ],
    );
  }],

  ["acquireLease() leaves the leases of others alone, compatible or not", async ({ store }) => {
    await store.createLease(net("10.4.1.0/24"), OTHER, LEASE_TTL);
    await acquireLease(store, GUIDE, OWN);
    assert((await subnets(store)).includes("10.4.1.0/24"));
  }],

  ["acquireLease() takes the room of what it deletes into account", async ({ store }) => {
    // Left from a time when a lease was as large as the whole range is now.
    await store.createLease(net("10.21.0.64/26"), OWN, LEASE_TTL);
    const lease = await acquireLease(store, SMALL, OWN, { previous: net("10.21.0.80/28") });
    assertEquals(String(lease.subnet), "10.21.0.80/28");
    assertEquals(await subnets(store), ["10.21.0.80/28"]);
  }],

  ["acquireLease() comes back to the previous subnet when it is free", async (
    { store, log },
  ) => {
    const lease = await acquireLease(store, GUIDE, OWN, { previous: net("10.20.212.0/24") });
    assertEquals(String(lease.subnet), "10.20.212.0/24");
    assertEquals(log, [
      "I Found previously leased subnet (10.20.212.0/24), reusing",
      "I Lease acquired: 10.20.212.0/24",
    ]);
  }],

  ["acquireLease() does not come back to a subnet that another has", async ({ store, log }) => {
    await store.createLease(net("10.20.212.0/25"), OTHER, LEASE_TTL);
    const lease = await acquireLease(store, GUIDE, OWN, { previous: net("10.20.212.0/24") });
    assert(!lease.subnet.equals(net("10.20.212.0/24")));
    assertEquals(
      log[0],
      "W Previous subnet (10.20.212.0/24) has been leased to another host, ignoring",
    );
  }],

  ["acquireLease() does not come back to a subnet outside the range", async ({ store, log }) => {
    // flannel's own case: 10.4.1.0/24 after the network has become 10.20.0.0/16.
    for (const previous of ["10.4.1.0/24", "10.20.0.0/24", "10.20.9.0/25"]) {
      const lease = await acquireLease(store, GUIDE, OWN, { previous: net(previous) });
      assert(isCompatible(GUIDE, lease.subnet));
      await store.removeLease(lease);
    }
    assertEquals(log.filter((line) => line.includes("not within the current config")).length, 3);
  }],

  ["acquireLease() picks again after a conflict", async ({ store, another, log }) => {
    const contested = withRival(store, await another(), 3);
    const lease = await acquireLease(contested, SMALL, OWN);
    const leases = await subnets(store);
    assertEquals([leases.length, new Set(leases).size], [4, 4]);
    assertEquals((await store.lease(lease.subnet))?.attributes, OWN);
    assertEquals(log.filter((line) => /^I Lost a race for a subnet \(.+\)/.test(line)).length, 3);
  }],

  ["acquireLease() chooses among more free subnets after a lost race", async ({ store }) => {
    const wide = await config({ Network: "10.32.0.0/12", SubnetMin: "10.32.1.0" });
    await store.createLease(net("10.32.100.0/24"), OTHER, LEASE_TTL);
    // The last of the first hundred, by a snapshot that is a moment old; then the last of sixteen times as many.
    const options = { snapshot: { leases: [] }, random: () => 1 - 2 ** -53 };
    const lease = await acquireLease(store, wide, OWN, options);
    assertEquals(String(lease.subnet), "10.38.65.0/24");
  }],
  ["acquireLease() gives up after ten lost races", async ({ store, another }) => {
    const contested = withRival(store, await another());
    const error = await assertRejects(() => acquireLease(contested, GUIDE, OWN), AcquireError);
    assertEquals(error.message, "Max retries reached trying to acquire a subnet");
    assertEquals((await subnets(store)).length, 10);
  }],

  ["acquireLease() reads the store when the given snapshot is out of date", async ({ store }) => {
    const leases = await fill(store, ["10.21.0.96/28"]);
    // A snapshot without leases: the first attempt is a conflict.
    const lease = await acquireLease(store, SMALL, OWN, {
      snapshot: { leases: [] },
      random: () => 0,
    });
    assertEquals(String(lease.subnet), "10.21.0.96/28");
    // A snapshot with every subnet leased, of which one is free since.
    await store.removeLease(leases[1]!);
    const given = { leases: [...leases, lease] };
    const second = await acquireLease(store, SMALL, vxlan("192.0.2.9"), { snapshot: given });
    assertEquals(String(second.subnet), "10.21.0.80/28");
    // A snapshot with an own lease that was renewed since.
    const renewed = await store.updateLease(second, second.attributes, 1000);
    const third = await acquireLease(store, SMALL, second.attributes, {
      snapshot: { leases: [second] },
    });
    assertEquals(third.subnet, second.subnet);
    assert(third.revision !== renewed.revision);
  }],

  ["acquireLease() passes by a subnet whose lease cannot be read", async ({ store, putRaw }) => {
    await fill(store, ["10.21.0.64/28", "10.21.0.112/28"]);
    await putRaw("subnets/10.21.0.64-28", "not a lease");
    const lease = await acquireLease(store, SMALL, OWN, { previous: net("10.21.0.64/28") });
    assertEquals(String(lease.subnet), "10.21.0.112/28");
  }],

  ["acquireLease() says when it is out of subnets", async ({ store }) => {
    await fill(store);
    const error = await assertRejects(
      () => acquireLease(store, SMALL, OWN),
      OutOfSubnetsError,
    );
    assertEquals(
      error.message,
      "out of subnets: all of 10.21.0.64 ... 10.21.0.112 (/28 of 10.21.0.0/24) are leased",
    );
    assert(error instanceof AcquireError);
    assertEquals((await subnets(store)).length, 4);
  }],

  ["acquireLease() lets inspect check a lease before it is re-used, and refuse it", async (
    { store },
  ) => {
    const inspected: Lease[] = [];
    const inspect = (lease: Lease) => {
      inspected.push(lease);
    };
    const first = await acquireLease(store, GUIDE, OWN, { inspect });
    assertEquals(inspected, []);
    await acquireLease(store, GUIDE, OWN, { inspect });
    assertEquals(inspected.map(({ subnet, attributes }) => ({ subnet, attributes })), [
      { subnet: first.subnet, attributes: OWN },
    ]);
    const before = await store.lease(first.subnet);
    await assertRejects(
      () =>
        acquireLease(store, GUIDE, vxlan("192.0.2.1", "0e:00:00:00:00:01"), {
          inspect: () => {
            throw new Error("not this one");
          },
        }),
      Error,
      "not this one",
    );
    assertEquals((await store.lease(first.subnet))?.revision, before?.revision);
  }],

  ["acquireLease() ends with its signal", async ({ store }) => {
    const signal = AbortSignal.abort(new Error("stop"));
    await assertRejects(() => acquireLease(store, GUIDE, OWN, { signal }), Error, "stop");
    assertEquals(await subnets(store), []);
  }],

  ["acquireLease() gives ten racers a subnet each", async ({ store, another }) => {
    await race(store, another, await config({ Network: "10.22.0.0/24", SubnetLen: 28 }), 10, 10);
  }],

  ["acquireLease() gives as many of ten racers a subnet as there are", async (
    { store, another },
  ) => {
    await race(store, another, SMALL, 10, 4);
  }],
]);

/** Starts racers at one instant and sees to it that `room` of them get a subnet of their own. */
async function race(
  store: NetworkStore,
  another: () => Promise<NetworkStore>,
  network: NetworkConfig,
  racers: number,
  room: number,
): Promise<void> {
  const stores = await Promise.all(Array.from({ length: racers }, another));
  const results = await Promise.allSettled(
    stores.map((store, i) =>
      acquireLease(store, network, { publicIP: ip(`192.0.2.${i + 1}`) }, {
        snapshot: { leases: [] },
      })
    ),
  );
  const won: Prefix[] = [];
  for (const [i, result] of results.entries()) {
    if (result.status === "fulfilled") {
      won.push(result.value.subnet);
      const stored = await store.lease(result.value.subnet);
      assertEquals(stored?.attributes.publicIP, ip(`192.0.2.${i + 1}`));
    } else assert(result.reason instanceof OutOfSubnetsError, String(result.reason));
  }
  assertEquals(won.length, room);
  for (const subnet of won) {
    assert(isCompatible(network, subnet));
    assertEquals(won.filter((other) => other.overlaps(subnet)).length, 1);
  }
  assertEquals(await subnets(store), won.map(String).sort());
}
