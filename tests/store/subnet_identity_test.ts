import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { LEASE_TTL, type NodeRecord, type StoredNodeRecord } from "../../mod/lease/mod.ts";
import { type NetworkStore, StoreError } from "../../mod/store/mod.ts";
import { ip } from "../../mod/store/testing/store_lab.ts";
import { claimIdentity, DuplicatePublicIPError, guardIdentity } from "../../mod/subnet/identity.ts";
import { subnetCases } from "./subnet_lab.ts";

/** Every Vagrant machine's address on eth0. */
const IP = ip("10.0.2.15");

/** Milliseconds; a live holder on this machine answers in a few. */
const GRACE = 600;

/** Where nobody can answer. */
const SHORT = 250;

let agents = 0;

/** A node record; agents of one host name and boot are of one boot. */
function agent(hostname: string, boot = "1"): NodeRecord {
  return {
    // As of one image: the machine id distinguishes nothing.
    machineId: "b08dfa6083e7567a1921a715000001fb",
    hostname,
    bootId: `boot-${hostname}-${boot}`,
    version: "0.1.0",
    started: "2026-01-02T03:04:05Z",
    instance: `${hostname}-${++agents}`,
  };
}

function never(): AbortSignal {
  return new AbortController().signal;
}

function claim(store: NetworkStore, own: NodeRecord, grace = GRACE): Promise<StoredNodeRecord> {
  return claimIdentity(store, IP, own, { grace, signal: never() });
}

/** Becomes the holder and guards the record, as the agent does, until disposed of. */
async function hold(store: NetworkStore, own: NodeRecord): Promise<Holder> {
  const { cursor } = await store.snapshot();
  await claim(store, own);
  const controller = new AbortController();
  const { signal } = controller;
  const ended = (async () => {
    for await (const item of store.watch(cursor, { signal })) {
      const changes = item.type === "changes" ? item.changes : [];
      for (const change of changes) {
        if (change.type !== "agent" && change.type !== "agent-removed") continue;
        const seen = change.type === "agent" ? change.agent : undefined;
        await guardIdentity(store, seen, IP, own, { grace: GRACE, signal });
      }
    }
  })();
  // The caller that awaits it gets the error.
  ended.catch(() => {});
  return {
    ended,
    [Symbol.asyncDispose]: async () => {
      controller.abort();
      await ended.catch(() => {});
    },
  };
}

interface Holder extends AsyncDisposable {
  /** Rejects when the holder has to give its address up. */
  readonly ended: Promise<void>;
}

/** How many of the newcomers became holder; the others must have been refused. */
async function winners(attempts: readonly Promise<StoredNodeRecord>[]): Promise<NodeRecord[]> {
  const won: NodeRecord[] = [];
  for (const result of await Promise.allSettled(attempts)) {
    if (result.status === "fulfilled") won.push(result.value.record);
    else if (!(result.reason instanceof DuplicatePublicIPError)) throw result.reason;
  }
  return won;
}

/** Milliseconds that an attempt takes. */
async function timed(attempt: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await attempt();
  return performance.now() - started;
}

subnetCases("claimIdentity() and guardIdentity()", [
  ["claimIdentity() takes what nobody holds at once", async ({ store, log }) => {
    const own = agent("host101");
    const stored = await claim(store, own, 60_000);
    assertEquals(stored.record, own);
    assertEquals(await store.agent(IP), stored);
    assertEquals(log, []);
  }],

  ["claimIdentity() takes over from this boot of this host at once", async ({ store, log }) => {
    await claim(store, agent("host101"));
    const restarted = agent("host101");
    assertEquals((await claim(store, restarted, 60_000)).record, restarted);
    assertEquals((await store.agent(IP))?.record, restarted);
    assertEquals(log, []);
  }],

  ["claimIdentity() called again leaves its own record alone", async ({ store }) => {
    const own = agent("host101");
    const first = await claim(store, own);
    assertEquals(await claim(store, own, 60_000), first);
  }],

  ["claimIdentity() takes over from a dead host after the grace", async ({ store, log }) => {
    await claim(store, agent("host101"));
    const heir = agent("host102");
    const ms = await timed(() => claim(store, heir, SHORT));
    assert(ms >= SHORT, `${ms} ms`);
    assertEquals((await store.agent(IP))?.record, heir);
    assertEquals(log, [
      "I Public IP 10.0.2.15 was last used by host host101; asking for 0.25 s whether it is alive",
      "I Host host101 did not answer; taking over public IP 10.0.2.15",
    ]);
  }],

  ["claimIdentity() asks after a reboot too, since clones look the same", async ({ store }) => {
    await claim(store, agent("host101", "1"));
    const ms = await timed(() => claim(store, agent("host101", "2"), SHORT));
    assert(ms >= SHORT, `${ms} ms`);
  }],

  ["claimIdentity() is refused by a live holder, and names its host and the fix", async (
    { store, another, log },
  ) => {
    const own = agent("host101");
    await using _holder = await hold(await another(), own);
    const error = await assertRejects(() => claim(store, agent("host102")), DuplicatePublicIPError);
    assertEquals(
      error.message,
      "public IP 10.0.2.15 is in use by host host101: two hosts with one address would get the " +
        "same subnet. Choose this host's own interface or address with -iface (for example " +
        "-iface=eth1) or -public-ip",
    );
    const { record } = (await store.agent(IP))!;
    assertEquals({ ...record, refuses: undefined }, { ...own, refuses: undefined });
    assert(
      log.includes(
        "W Host host102 wants to use our public IP 10.0.2.15; refused. It should be started with " +
          "another -iface or -public-ip",
      ),
    );
    // The holder holds on: the next one fares no better.
    await assertRejects(() => claim(store, agent("host103")), DuplicatePublicIPError, "host101");
  }],

  ["claimIdentity() lets exactly one of two newcomers follow a dead host", async (
    { store, another },
  ) => {
    await claim(store, agent("host101"));
    const stores = [await another(), await another()];
    const won = await winners(stores.map((store, i) => claim(store, agent(`host20${i}`))));
    assertEquals(won.length, 1);
    assertEquals((await store.agent(IP))?.record.instance, won[0]!.instance);
    assertEquals((await store.agent(IP))?.record.claims, undefined);
  }],

  [
    "claimIdentity() lets the first of two newcomers follow a dead host, and refuses the second",
    async (
      { store, another },
    ) => {
      await claim(store, agent("host101"));
      const first = agent("host501");
      const attempt = claim(await another(), first);
      attempt.catch(() => {});
      while ((await store.agent(IP))?.record.claims === undefined);
      await assertRejects(() => claim(store, agent("host502")), DuplicatePublicIPError, "host501");
      assertEquals((await attempt).record, first);
    },
  ],

  ["claimIdentity() lets exactly one of three newcomers take what nobody holds", async (
    { store, another },
  ) => {
    // They guard what they got, as agents do: that is what refuses those who come a moment later.
    const stores = [await another(), await another(), await another()];
    const holders = await Promise.allSettled(
      stores.map((store, i) => hold(store, agent(`host30${i}`))),
    );
    await using stack = new AsyncDisposableStack();
    let won = 0;
    for (const result of holders) {
      if (result.status === "fulfilled") {
        won++;
        stack.use(result.value);
      } else assert(result.reason instanceof DuplicatePublicIPError, String(result.reason));
    }
    assertEquals(won, 1);
    assertEquals((await store.agent(IP))?.record.claims, undefined);
  }],

  ["claimIdentity() lets exactly one of five newcomers follow a dead host", async (
    { store, another },
  ) => {
    await claim(store, agent("host101"));
    const attempts: Promise<StoredNodeRecord>[] = [];
    for (let i = 0; i < 5; i++) {
      const attempt = claim(await another(), agent(`host40${i}`));
      attempt.catch(() => {});
      attempts.push(attempt);
      // Not all in one instant: some claim while another is being asked for.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 80));
    }
    const won = await winners(attempts);
    assertEquals(won.length, 1);
    assertEquals((await store.agent(IP))?.record.instance, won[0]!.instance);
  }],

  [
    "claimIdentity() goes on asking after an outage, and takes nothing on the strength of its own claim",
    async (
      { store, another },
    ) => {
      const dead = await claim(store, agent("host101"));
      const own = agent("host102");
      // The claim of an earlier call, from before the store went away.
      const { version: _, started: __, ...claims } = dead.record;
      await store.putNodeRecord(IP, { ...own, claims }, LEASE_TTL, dead.revision);
      const ms = await timed(() => claim(store, own, SHORT));
      assert(ms >= SHORT, `${ms} ms`);
      assertEquals((await store.agent(IP))?.record, own);

      // The same with a holder that is back a moment later than the newcomer.
      const newcomer = agent("host103");
      const { version: ___, started: ____, ...claimed } = own;
      const { revision } = (await store.agent(IP))!;
      await store.putNodeRecord(IP, { ...newcomer, claims: claimed }, LEASE_TTL, revision);
      const attempt = claim(await another(), newcomer);
      attempt.catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 100));
      await using _holder = await hold(store, own);
      await assertRejects(() => attempt, DuplicatePublicIPError, "host102");
    },
  ],

  [
    "claimIdentity() of a host that restarts while a newcomer asks for it refuses the newcomer",
    async (
      { store, another },
    ) => {
      await claim(store, agent("host101"));
      const newcomer = claim(await another(), agent("host102"));
      const refused = assertRejects(() => newcomer, DuplicatePublicIPError, "host101");
      while ((await store.agent(IP))?.record.claims === undefined);
      const restarted = agent("host101");
      const ms = await timed(() => claim(store, restarted, 60_000));
      assert(ms < GRACE, `${ms} ms`);
      await refused;
      assertEquals((await store.agent(IP))?.record.instance, restarted.instance);
    },
  ],

  ["claimIdentity() starts over when the record vanishes", async ({ store, another }) => {
    const dead = agent("host101");
    await store.putNodeRecord(IP, dead, 1, undefined);
    const heir = agent("host102");
    // Ours runs out too: written by hand with a short life in place of the claim.
    const attempt = claim(await another(), heir, 5_000);
    let stands = await store.agent(IP);
    while (stands?.record.claims === undefined) stands = await store.agent(IP);
    await store.putNodeRecord(IP, stands.record, 1, stands.revision);
    assertEquals((await attempt).record, heir);
  }],

  ["claimIdentity() says what is in the way where there is no node record", async (
    { store, putRaw },
  ) => {
    await putRaw("agents/10.0.2.15", "no node record");
    const { message } = await assertRejects(() => claim(store, agent("host1")), StoreError);
    assertMatch(
      message,
      /^the node record of public IP 10\.0\.2\.15 cannot be written: .*\/agents\/10\.0\.2\.15.*; if the entry is no node record, delete it$/,
    );
  }],

  ["claimIdentity() ends with its signal", async ({ store }) => {
    await claim(store, agent("host101"));
    const controller = new AbortController();
    const attempt = claimIdentity(store, IP, agent("host102"), {
      grace: 60_000,
      signal: controller.signal,
    });
    while ((await store.agent(IP))?.record.claims === undefined);
    controller.abort(new Error("stop"));
    await assertRejects(() => attempt);
    assertEquals((await store.agent(IP))?.record.claims?.hostname, "host101");
  }],

  ["guardIdentity() takes a report of our own record as it is", async ({ store }) => {
    const own = agent("host101");
    const stored = await claim(store, own);
    assertEquals(await guardIdentity(store, stored, IP, own, { signal: never() }), stored);
  }],

  ["guardIdentity() is not misled by a report from before our own write", async (
    { store, log },
  ) => {
    const dead = await claim(store, agent("host101"));
    const own = agent("host102");
    const stored = await claim(store, own, SHORT);
    const lines = log.length;
    const options = { grace: 60_000, signal: never() };
    assertEquals(await guardIdentity(store, dead, IP, own, options), stored);
    assertEquals(await guardIdentity(store, undefined, IP, own, options), stored);
    const { version: _, started: __, ...claims } = dead.record;
    const stale = { ...dead, record: { ...agent("host103"), claims } };
    assertEquals(await guardIdentity(store, stale, IP, own, options), stored);
    assertEquals(log.length, lines);
  }],

  ["guardIdentity() writes a record again that is gone", async ({ store }) => {
    const own = agent("host101");
    const options = { grace: 60_000, signal: never() };
    const stored = await guardIdentity(store, undefined, IP, own, options);
    assertEquals(stored.record, own);
    assertEquals(await store.agent(IP), stored);
  }],

  ["guardIdentity() says that something else was written over the record", async (
    { store, putRaw },
  ) => {
    const own = agent("host1");
    await claim(store, own);
    await putRaw("agents/10.0.2.15", "no node record");
    await assertRejects(
      () => guardIdentity(store, undefined, IP, own, { signal: never() }),
      StoreError,
      "if the entry is no node record, delete it",
    );
  }],

  ["guardIdentity() gives way to a host that took over while we were away", async (
    { store, another },
  ) => {
    const own = agent("host101");
    await claim(store, own);
    await using _heir = await hold(await another(), agent("host102"));
    const seen = await store.agent(IP);
    await assertRejects(
      () => guardIdentity(store, seen, IP, own, { grace: GRACE, signal: never() }),
      DuplicatePublicIPError,
      "host102",
    );
  }],

  ["guardIdentity() gives way to a second agent of this host instead of fighting it", async (
    { store, another },
  ) => {
    await using first = await hold(await another(), agent("host101"));
    await using _second = await hold(await another(), agent("host101"));
    const error = await assertRejects(() => first.ended, DuplicatePublicIPError);
    assert(
      error.message.startsWith("public IP 10.0.2.15 is in use by another flanneld on this host"),
    );
    const { revision } = (await store.agent(IP))!;
    await new Promise((resolve) => setTimeout(resolve, 100));
    assertEquals((await store.agent(IP))?.revision, revision);
  }],
]);
