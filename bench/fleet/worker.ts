/**
 * One of the bench's processes, run inside a lab host: `worker.ts <first> <count> <store options as JSON>`.
 * It holds `count` agents, each with a store and thus connections of its own. Reads a command a line from
 * standard input, and answers each with a line of JSON.
 */
import { sleep } from "../../mod/async/sleep.ts";
import { LEASE_TTL } from "../../mod/lease/mod.ts";
import { configureLog } from "../../mod/observe/mod.ts";
import { type EtcdV3Caller, EtcdV3Client } from "../../mod/store/etcd/v3/client.ts";
import { EtcdV3Kv } from "../../mod/store/etcd/v3/etcd_v3.ts";
import { networkOf } from "../../mod/store/testing/open_lab.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import type { EtcdStoreOptions, StoreOptions } from "../../mod/store/options.ts";
import { openStore } from "../../mod/store/open.ts";
import { renewalDelay } from "../../mod/subnet/mod.ts";
import { FleetAgent, RENEW_MARGIN } from "./agent.ts";
import { Tally } from "./tally.ts";

/** First public IP: 198.18.0.1, of the block for benchmarks (RFC 2544). */
const FIRST_IP = 0xc6120001;

/** Milliseconds between two polls of a state that a command waits for. */
const POLL_MS = 50;

const [first, count, options] = Deno.args as [string, string, string];
const tally = new Tally();
const stop = new AbortController();
const { signal } = stop;
const stores: NetworkStore[] = [];
const agents: FleetAgent[] = [];

let running = 0;

const COMMANDS: Readonly<Record<string, (args: readonly string[]) => Promise<unknown>>> = {
  /** Starts so many of the agents that do not run yet at once; answers when each has its lease. */
  async start([number]) {
    const starting = agents.slice(running, running += Number(number));
    for (const agent of starting) {
      agent.run().catch((error) => {
        if (!signal.aborted) throw error;
      });
    }
    await until(() => starting.every(({ isUp }) => isUp));
  },
  /** Answers when each agent knows so many leases. */
  async know([leases]) {
    await until(() => agents.every((agent) => agent.leases === Number(leases)));
  },
  /** Reads everything once, as an agent does that starts or whose history is lost. */
  async snapshot() {
    await stores[0]!.snapshot();
  },
  /** Renews the first so many agents' leases, one after the other. */
  async renew([number]) {
    for (const agent of agents.slice(0, Number(number))) await agent.renew();
  },
  /**
   * Renews so many agents' leases at the times that a fleet has which started at once: `renewalDelay()`
   * with a clock that runs so many times as fast. Answers with the milliseconds between first and last.
   */
  async round([number, speed]) {
    const times: number[] = [];
    await Promise.all(
      agents.slice(0, Number(number)).map(async (agent) => {
        await sleep(renewalDelay(LEASE_TTL, RENEW_MARGIN)! * 1000 / Number(speed), signal);
        times.push(Date.now());
        await agent.renew();
      }),
    );
    return [Math.min(...times), Math.max(...times)];
  },
  report: () => Promise.resolve(tally.take()),
};

configureLog({ quiet: true });
countFetches();
const parsed = JSON.parse(options) as StoreOptions;
for (let i = 0; i < Number(count); i++) {
  const number = Number(first) + i;
  const store = await open(parsed);
  stores.push(store);
  agents.push(new FleetAgent(store, FIRST_IP + number, number, tally, signal));
}
console.log("null");
const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
let rest = "";
for await (const text of lines) {
  rest += text;
  for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
    const [name, ...args] = rest.slice(0, end).split(" ") as [string, ...string[]];
    console.log(JSON.stringify(await COMMANDS[name]!(args) ?? null));
  }
}
// The bench has closed standard input, or has ended.
stop.abort();
for (const agent of agents) agent[Symbol.dispose]();
await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
Deno.exit(0);

/** Opens a store as the agent does, but for the counting. */
async function open(options: StoreOptions): Promise<NetworkStore> {
  if (options.kind === "etcd" && options.api === "v3") {
    return networkOf(new EtcdV3Kv(options, counted(options)), options);
  }
  const opened = await openStore(options, { signal });
  if (!("store" in opened)) throw new Error(opened.waiting);
  return opened.store;
}

function counted(options: EtcdStoreOptions): EtcdV3Caller {
  const client = new EtcdV3Client(options, {});
  return {
    call(method, request, signal) {
      tally.request(method);
      return client.call(method, request, signal);
    },
    watch(request, signal) {
      tally.request("watch");
      return client.watch(request, signal);
    },
    reconnect: () => client.reconnect(),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** Counts the requests of the stores that use `fetch`. */
function countFetches(): void {
  const { fetch } = globalThis;
  globalThis.fetch = (input, init) => {
    const url = new URL(String(input));
    const what = url.pathname.split("/")[4] ?? "";
    tally.request(
      url.searchParams.has("next") || url.searchParams.has("wait")
        ? "poll"
        : `${init?.method ?? "GET"} ${what === "" ? "store" : what}`,
    );
    return fetch(input, init);
  };
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
