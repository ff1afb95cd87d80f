import { assertEquals, assertRejects } from "@std/assert";
import { type Lease, type NodeRecord, PERMANENT, type StoredNodeRecord } from "../../lease/mod.ts";
import { ConflictError, type NetworkStore } from "../../store/mod.ts";
import { ip, net } from "../../store/testing/store_lab.ts";
import { findLeaseAddress, findRelease } from "./release.ts";

const OWN: Lease = {
  subnet: net("10.20.93.0/24"),
  attributes: { publicIP: ip("192.0.2.1") },
  revision: "7",
  ttl: 600,
};
const OTHER: Lease = {
  ...OWN,
  subnet: net("10.20.7.0/24"),
  attributes: { publicIP: ip("192.0.2.2") },
};

const RECORD: NodeRecord = {
  ...{ machineId: "1".repeat(32), hostname: "host1", bootId: "boot", instance: "a" },
  ...{ version: "0", started: "2026-01-01T00:00:00Z" },
};
const HOST = { machineId: RECORD.machineId, hostname: RECORD.hostname };

/** A store that holds these, and notes what is removed. */
function storeOf(
  leases: readonly Lease[],
  record: NodeRecord | undefined,
  removed: string[] = [],
) {
  const agents: StoredNodeRecord[] = record === undefined
    ? []
    : [{ publicIP: OWN.attributes.publicIP, record, revision: "9" }];
  return {
    name: "the store",
    snapshot: () => Promise.resolve({ config: { missing: "" }, leases, agents, cursor: "" }),
    removeLease: ({ subnet }: Lease) => {
      removed.push(`lease ${subnet}`);
      return Promise.resolve();
    },
    removeNodeRecord: () => {
      removed.push("record");
      return Promise.resolve();
    },
  } as unknown as NetworkStore;
}

async function release(leases: readonly Lease[], record?: NodeRecord, subnet = OWN.subnet) {
  const removed: string[] = [];
  const request = { publicIP: OWN.attributes.publicIP, host: HOST, subnet };
  const { removals, kept } = await findRelease(storeOf(leases, record, removed), request, {});
  assertEquals(removed, []);
  for (const { remove } of removals) await remove();
  return { removed, what: removals.flatMap(({ what }) => what), kept };
}

Deno.test("findRelease() gives back this host's lease and record, and nobody else's", async () => {
  assertEquals(await release([OTHER, OWN], RECORD), {
    removed: ["lease 10.20.93.0/24", "record"],
    what: ["lease 10.20.93.0/24 in the store", "node record of 192.0.2.1 in the store"],
    kept: [],
  });
});

Deno.test("findRelease() knows the machine again after a reboot", async () => {
  const { removed } = await release([OWN], { ...RECORD, bootId: "before" });
  assertEquals(removed.length, 2);
});

Deno.test("findRelease() keeps entries that another machine holds or claims", async () => {
  for (
    const record of [
      { ...RECORD, machineId: "2".repeat(32), hostname: "clone" },
      { ...RECORD, hostname: "clone" },
      { ...RECORD, claims: { ...HOST, hostname: "clone", bootId: "boot", instance: "b" } },
    ]
  ) {
    assertEquals(await release([OWN], record), {
      removed: [],
      what: [],
      kept: ["lease of public IP 192.0.2.1: its holder is host clone"],
    });
  }
});

Deno.test("findRelease() without a record goes by subnet.env", async () => {
  assertEquals((await release([OWN])).removed, ["lease 10.20.93.0/24"]);
  assertEquals(await release([OWN], undefined, OTHER.subnet), {
    removed: [],
    what: [],
    kept: ["lease 10.20.93.0/24 of public IP 192.0.2.1: no node record names its host"],
  });
});

Deno.test("findRelease() keeps a reservation", async () => {
  const { removed, kept } = await release([{ ...OWN, ttl: PERMANENT }], RECORD);
  assertEquals(removed, ["record"]);
  assertEquals(kept, ["lease 10.20.93.0/24: it has no lifetime, so it is a reservation"]);
});

Deno.test("findRelease() asks for another run after a concurrent change", async () => {
  const store = storeOf([OWN], RECORD);
  store.removeLease = () => Promise.reject(new ConflictError("/x was changed since it was read"));
  const request = { publicIP: OWN.attributes.publicIP, host: HOST, subnet: undefined };
  const { removals } = await findRelease(store, request, {});
  await assertRejects(
    async () => await removals[0]!.remove(),
    ConflictError,
    "/x was changed since it was read; run this again",
  );
});

Deno.test("findLeaseAddress() knows by address or record whether the lease is this host's", async () => {
  const { publicIP } = OWN.attributes;
  const find = (leases: readonly Lease[], record?: NodeRecord, addresses = new Set([publicIP])) =>
    findLeaseAddress(
      storeOf(leases, record),
      { subnet: OWN.subnet, host: HOST, addresses },
      {},
    );
  assertEquals(await find([OTHER, OWN]), { publicIP, isOwn: true });
  assertEquals(await find([OWN], RECORD, new Set()), { publicIP, isOwn: true });
  assertEquals(await find([OWN], undefined, new Set()), { publicIP, isOwn: false });
  // Every host has this address.
  assertEquals(await find([OWN], { ...RECORD, hostname: "clone" }), undefined);
  assertEquals(await find([OTHER], RECORD), undefined);
});
