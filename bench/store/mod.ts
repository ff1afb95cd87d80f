/**
 * Costs of each store for an agent: to acquire a lease, to renew it, and to notify five hundred watchers of
 * a change. Each store as agents use it, with its real server on this machine, and every write on the
 * disk before it is acknowledged; ratios to etcd v2.
 *
 * @module
 */
import { decodeNetworkConfig } from "../../mod/config/mod.ts";
import { LEASE_TTL } from "../../mod/lease/mod.ts";
import { configureLog } from "../../mod/observe/log/log.ts";
import { makeEmbeddedLab } from "../../mod/store/testing/embedded_lab.ts";
import { openEtcdV2 } from "../../mod/store/testing/open_lab.ts";
import { openEtcdV3 } from "../../mod/store/testing/open_lab.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import { makeRemoteLab } from "../../mod/store/testing/remote_lab.ts";
import { vxlan } from "../../mod/store/testing/store_lab.ts";
import { acquireLease } from "../../mod/subnet/mod.ts";
import { EtcdServer } from "../../tests/lab/etcd/etcd.ts";

/** Hosts that acquire, one after the other, and then renew. */
const HOSTS = 200;

/** Watchers of one change, over as many stores as an operator has hosts: ten. A server holds 640 polls of an address. */
const WATCHERS = 500;
const STORES = 10;

/** Number of watched changes; the result is their median. */
const CHANGES = 9;

const CONFIG = '{"Network":"10.20.0.0/16"}';

/** Milliseconds. */
interface Measured {
  readonly acquire: number;
  readonly renew: number;
  readonly fanOut: number;
}

/** A store that can be opened several times. */
interface Bench extends AsyncDisposable {
  open(): Promise<NetworkStore>;
}

const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  "etcd v2": () => etcd("v2"),
  "etcd v3": () => etcd("v3"),
  embedded: () => {
    const lab = makeEmbeddedLab();
    return Promise.resolve({
      open: () => lab.open("/bench"),
      [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
    });
  },
  "remote (embedded)": async () => {
    const lab = await makeRemoteLab(makeEmbeddedLab());
    return {
      open: () => lab.open("/bench"),
      [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
    };
  },
};

/** Prints the table. */
export async function run(): Promise<void> {
  configureLog({ quiet: true });
  const rows: [string, Measured][] = [];
  for (const [name, start] of Object.entries(BENCHES)) {
    await using bench = await start();
    rows.push([name, await measure(bench)]);
  }
  const [, base] = rows[0]!;
  console.log(
    `${"store".padEnd(18)} ${"acquire".padEnd(18)} ${
      "renew".padEnd(18)
    } ${WATCHERS} watchers notified`,
  );
  for (const [name, measured] of rows) {
    const cell = (key: keyof Measured) =>
      `${measured[key].toFixed(2).padStart(8)} ms ${(measured[key] / base[key]).toFixed(2)}x`
        .padEnd(18);
    console.log(`${name.padEnd(18)} ${cell("acquire")} ${cell("renew")} ${cell("fanOut")}`);
  }
}

async function etcd(api: "v2" | "v3"): Promise<Bench> {
  const server = await EtcdServer.start({ v2: api === "v2", fsync: true });
  const options = { endpoints: [server.endpoint], prefix: "/bench", api };
  return {
    open: () => api === "v2" ? openEtcdV2(options) : openEtcdV3(options),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function measure(bench: Bench): Promise<Measured> {
  await using stores = new AsyncDisposableStack();
  const store = stores.use(await bench.open());
  await store.putConfig(CONFIG, undefined);
  const config = await decodeNetworkConfig(CONFIG);

  const leases = [];
  let started = performance.now();
  for (let i = 1; i <= HOSTS; i++) {
    leases.push(await acquireLease(store, config, vxlan(`192.0.2.${i}`)));
  }
  const acquire = (performance.now() - started) / HOSTS;

  started = performance.now();
  for (const lease of leases) await store.updateLease(lease, lease.attributes, LEASE_TTL);
  const renew = (performance.now() - started) / HOSTS;

  const watching: NetworkStore[] = [];
  for (let i = 0; i < STORES; i++) watching.push(stores.use(await bench.open()));
  return { acquire, renew, fanOut: await fanOut(store, watching) };
}

/** From the write of an agent's lease to the last watcher that hears of it. */
async function fanOut(store: NetworkStore, watching: readonly NetworkStore[]): Promise<number> {
  const stop = new AbortController();
  const received = new Array<number>(WATCHERS).fill(0);
  let expected = 0;
  let missing = 0;
  let all = Promise.withResolvers<void>();
  const cursors = await Promise.all(watching.map(async (from) => (await from.snapshot()).cursor));
  const follow = async (watcher: number) => {
    const from = watching[watcher % watching.length]!;
    const cursor = cursors[watcher % watching.length]!;
    for await (const item of from.watch(cursor, { signal: stop.signal })) {
      if (item.type !== "changes") throw new Error(item.reason);
      received[watcher]! += item.changes.length;
      if (received[watcher] === expected && --missing === 0) all.resolve();
    }
  };
  const ended: Promise<void>[] = [];
  for (let watcher = 0; watcher < WATCHERS; watcher++) {
    ended.push(follow(watcher));
    // Hosts do not come all at once; and client and server share this process.
    if (watcher % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  // The first round, which is not counted, waits for the last of them.
  const [lease] = (await store.snapshot()).leases;
  let current = lease!;
  const times: number[] = [];
  for (let i = 0; i <= CHANGES; i++) {
    expected++;
    missing = WATCHERS;
    all = Promise.withResolvers();
    const started = performance.now();
    current = await store.updateLease(current, current.attributes, LEASE_TTL);
    await all.promise;
    if (i > 0) times.push(performance.now() - started);
  }
  stop.abort();
  await Promise.all(ended);
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
}
