/**
 * Load of a thousand agents on their store: the store's side of real agents (snapshot, identity, lease,
 * watch, renewal; no kernel) against one etcd, and against one `-listen` tier before that etcd.
 *
 * The agents are spread over {@linkcode PROCESSES} processes, each in a lab host of its own: one address
 * may hold 640 polls at a tier. Each agent has its own store and thus its own connections. etcd, tier and
 * fleet share this machine, so that times are not comparable; counts, bytes and memory are.
 *
 * @module
 */
import { LEASE_TTL } from "../../mod/lease/mod.ts";
import type { StoreOptions } from "../../mod/store/options.ts";
import { Lab, type UnderlayHost } from "../../tests/lab/lab.ts";
import { LabEtcd } from "../../tests/lab/etcd/lab_etcd.ts";
import { FLANNELD } from "../../tests/lab/unit.ts";
import type { LabProcess } from "../../tests/lab/process.ts";
import { cpuSeconds, mib, residentMiB, seconds, sentBytes } from "./measure.ts";
import { FleetProcess } from "./process.ts";
import { byKind, bySlot, type Report, SLOT_MS, sum, total } from "./tally.ts";

/** `FLEET_AGENTS` is for a machine that is slow or busy. */
const AGENTS = Number(Deno.env.get("FLEET_AGENTS") ?? 1_000);

const PROCESSES = 4;
const PREFIX = "/flannel/network";
/** Room for 16,384 hosts, beside the lab's own addresses. */
const CONFIG = '{"Network":"100.64.0.0/10","SubnetLen":24,"Backend":{"Type":"vxlan"}}';
const PORT = 8888;

/** Agents that renew; each renewal costs the same, so the rest is arithmetic. */
const RENEWING = Math.min(20, AGENTS);
/** How many times as fast the clock of renewals runs: a day in 42 s. */
const SPEED = LEASE_TTL / 42;
/** Renewals of one agent by which the bytes of a change are measured. */
const CHANGES = 10;

/** Milliseconds within which what the fleet waits for must have come; the bench goes on without the rest. */
const DELIVERY_MS = 60_000;

/** Store of a fleet. */
interface Target {
  readonly name: string;
  readonly store: StoreOptions;
  /** The process that the agents speak with, and its host. */
  readonly server: () => LabProcess;
  readonly host: UnderlayHost;
  /**
   * Agents that start at once; the next ones start when each of these has its lease. Each change goes to all
   * agents, and with more of them at once this machine's fleet is too slow to answer within the stores' time.
   */
  readonly wave: number;
  /** Seconds of rest that are measured: longer than the longest pause between two requests. */
  readonly restSeconds: number;
  /** Processes that are restarted. */
  readonly restarts: readonly Restart[];
}

/** A process that is restarted. */
interface Restart {
  readonly name: string;
  readonly restart: () => Promise<void>;
  /** Whether each agent reads the whole store again afterwards. */
  readonly isResync: boolean;
}

/** Prints the report. */
export async function run(): Promise<void> {
  console.log(`${AGENTS} agents in ${PROCESSES} processes`);
  for (const isTier of [false, true]) {
    await using lab = await Lab.start({ hosts: 2 + PROCESSES });
    const [etcdHost, tierHost, ...hosts] = lab.hosts as [
      UnderlayHost,
      UnderlayHost,
      ...UnderlayHost[],
    ];
    await using etcd = await LabEtcd.start(etcdHost);
    await etcd.set("v3", `${PREFIX}/config`, CONFIG);
    const restartEtcd: Restart = {
      name: "etcd",
      restart: async () => {
        await etcd.stop();
        await etcd.start();
      },
      isResync: false,
    };
    if (!isTier) {
      await measure(hosts, etcd, {
        name: "etcd v3",
        store: { kind: "etcd", endpoints: [etcd.endpoint], prefix: PREFIX, api: "v3" },
        server: () => etcd.process,
        host: etcdHost,
        wave: 20,
        // A watch sees every 10 s to it that etcd is there.
        restSeconds: 12,
        restarts: [restartEtcd],
      });
      continue;
    }
    const tokenFile = `${lab.dir}/token`;
    await Deno.writeTextFile(tokenFile, crypto.randomUUID(), { mode: 0o600 });
    await using tier = new Tier(tierHost, etcd.endpoint, tokenFile);
    await tier.start();
    await measure(hosts, etcd, {
      name: "-listen tier before etcd v3",
      store: { kind: "remote", servers: [`${tierHost.address}:${PORT}`], tokenFile },
      server: () => tier.process,
      host: tierHost,
      // A poll brings all that came since the last one.
      wave: 100,
      // A poll is held for up to 45 s.
      restSeconds: 46,
      restarts: [restartEtcd, {
        name: "the tier",
        restart: async () => {
          await tier.stop();
          await tier.start();
        },
        // The cursors are the tier's own.
        isResync: true,
      }],
    });
  }
}

/** A `flanneld -listen` in a lab host. */
class Tier implements AsyncDisposable {
  readonly #host: UnderlayHost;
  readonly #arguments: readonly string[];
  #process: LabProcess | undefined;

  constructor(host: UnderlayHost, endpoint: string, tokenFile: string) {
    this.#host = host;
    this.#arguments = [
      ...[`-listen=${host.address}:${PORT}`, `-remote-token-file=${tokenFile}`],
      ...[`-etcd-endpoints=${endpoint}`, `-etcd-prefix=${PREFIX}`, "-etcd-api=v3"],
    ];
  }

  get process(): LabProcess {
    return this.#process!;
  }

  async start(): Promise<void> {
    this.#process = await this.#host.spawn([FLANNELD, ...this.#arguments]);
    await this.#process.waitFor(/Listening on/);
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function measure(
  hosts: readonly UnderlayHost[],
  etcd: LabEtcd,
  target: Target,
): Promise<void> {
  console.log(`\n-- ${target.name}; ${target.wave} agents start at a time`);
  await using stack = new AsyncDisposableStack();
  const processes = await Promise.all(
    hosts.map((host, i) => {
      const [first, next] = [i, i + 1].map((at) => Math.round(AGENTS * at / PROCESSES));
      return FleetProcess.start(host, first!, next! - first!, target.store);
    }),
  );
  for (const process of processes) stack.use(process);
  const all = <T = void>(line: string) =>
    Promise.all(processes.map((process) => process.command<T>(line)));
  const report = async () => sum(await all<Report>("report"));
  const sent = () => sentBytes(target.host);
  const memory = () =>
    `resident: etcd ${residentMiB(etcd.process)}` +
    (target.server() === etcd.process ? "" : `, tier ${residentMiB(target.server())}`);
  console.log(`before:   ${memory()}`);

  const cpu = () => cpuSeconds(target.server());
  let bytes = sent();
  let used = cpu();
  let started = performance.now();
  for (let up = 0; up < AGENTS; up += target.wave) {
    await all(`start ${target.wave / PROCESSES}`);
  }
  const leased = performance.now() - started;
  await all(`know ${AGENTS}`);
  const known = performance.now() - started;
  bytes = sent() - bytes;
  used = cpu() - used;
  let counts = await report();
  console.log(
    `start:    all leases after ${seconds(leased)}, known to all after ${seconds(known)}\n` +
      `          ${perAgent(counts)}\n` +
      `          ${rate(counts)}; ${mib(bytes)} to the agents, ` +
      `${counts.changes} changes delivered\n` +
      `          ${used.toFixed(1)} s of a processor, ` +
      `${(used / counts.changes * 1e6).toFixed(0)} us a change delivered\n` +
      `          ${memory()}`,
  );
  failures(counts);

  bytes = sent();
  started = performance.now();
  await new Promise((resolve) => setTimeout(resolve, target.restSeconds * 1000));
  counts = await report();
  const restBytes = (sent() - bytes) / (performance.now() - started) * 1000;
  console.log(
    `at rest:  ${(total(byKind(counts).values()) / target.restSeconds).toFixed(1)} requests/s, ` +
      `${(restBytes / AGENTS).toFixed(1)} bytes/s to each agent`,
  );

  bytes = sent();
  await processes[0]!.command("snapshot");
  console.log(`snapshot: ${mib(sent() - bytes)} to the agent that starts`);

  bytes = sent();
  started = performance.now();
  for (let i = 0; i < CHANGES; i++) await processes[0]!.command("renew 1");
  await delivered(report, 2 * CHANGES * AGENTS);
  const changeBytes = sent() - bytes - restBytes * (performance.now() - started) / 1000;
  const each = changeBytes / (2 * CHANGES * AGENTS);
  console.log(
    `change:   ${each.toFixed(0)} bytes to each agent, ${mib(each * AGENTS)} in all; ` +
      `a renewal is two changes, lease and node record`,
  );

  const share = RENEWING / PROCESSES;
  started = performance.now();
  const [from, to] = (await all<[number, number]>(`round ${share} ${SPEED}`))
    .reduce(([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)]);
  counts = await delivered(report, 2 * RENEWING * AGENTS);
  const spread = (to - from) / 1000 * SPEED;
  const each24h = total(byKind(counts).values()) / RENEWING;
  console.log(
    `renewal:  ${RENEWING} agents, a clock ${SPEED.toFixed(0)} times as fast: ` +
      `${each24h.toFixed(1)} requests for each, polls of all included; ${rate(counts)}\n` +
      `          at 24 h: ${AGENTS} agents that started at once renew within ` +
      `${(spread / 3600).toFixed(2)} h: ` +
      `${(AGENTS * each24h / spread).toFixed(2)} requests/s, ` +
      `${mib(AGENTS * AGENTS * 2 * each / spread)}/s to the agents`,
  );
  failures(counts);

  for (const { name, restart, isResync } of target.restarts) {
    await report();
    bytes = sent();
    started = Date.now();
    await restart();
    const outage = Date.now() - started;
    counts = await delivered(report, 0, AGENTS, isResync ? AGENTS : 0);
    const times = counts.reconnects.toSorted((a, b) => a - b);
    const after = (share: number) =>
      ((times[Math.min(Math.floor(times.length * share), times.length - 1)]! - times[0]!) / 1000)
        .toFixed(2);
    console.log(
      `restart:  ${name}, away for ${
        seconds(outage)
      }: ${times.length} watches stand again; after ` +
        `the first ${after(0.1)} s 10 %, ${after(0.5)} s 50 %, ${after(0.9)} s 90 %, ` +
        `${after(1)} s all; most in 100 ms ${most(times)}\n` +
        `          ${perAgent(counts)}; ${rate(counts)}; ${counts.resyncs} snapshots, ` +
        `${mib(sent() - bytes)} to the agents\n` +
        `          ${memory()}`,
    );
    failures(counts);
  }
}

/** Waits until so much has come to the watches. @returns the counts since the last report */
async function delivered(
  report: () => Promise<Report>,
  changes: number,
  reconnects = 0,
  resyncs = 0,
): Promise<Report> {
  const parts = [await report()];
  const until = Date.now() + DELIVERY_MS;
  for (let quiet = 0; quiet < 3 && Date.now() < until;) {
    const soFar = sum(parts);
    const isDone = soFar.changes >= changes && soFar.reconnects.length >= reconnects &&
      soFar.resyncs >= resyncs;
    // Consequences of a change arrive within a second.
    quiet = isDone ? quiet + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 300));
    parts.push(await report());
  }
  return sum(parts);
}

function perAgent(report: Report): string {
  const kinds = [...byKind(report)].toSorted(([, a], [, b]) => b - a);
  return `${(total(kinds.map(([, count]) => count)) / AGENTS).toFixed(1)} requests/agent: ` +
    kinds.map(([kind, count]) => `${kind} ${(count / AGENTS).toFixed(2)}`).join(", ");
}

/** Requests in the busiest second, and in the busiest 100 ms. */
function rate(report: Report): string {
  const slots = bySlot(report);
  const perSecond: Record<number, number> = {};
  for (const [slot, count] of Object.entries(slots)) {
    const second = Math.floor(Number(slot) * SLOT_MS / 1000);
    perSecond[second] = (perSecond[second] ?? 0) + count;
  }
  return `at most ${Math.max(0, ...Object.values(perSecond))} requests in a second, ` +
    `${Math.max(0, ...Object.values(slots))} in ${SLOT_MS} ms`;
}

/** Times in the busiest slot. */
function most(times: readonly number[]): number {
  const slots = new Map<number, number>();
  for (const time of times) {
    const slot = Math.floor(time / SLOT_MS);
    slots.set(slot, (slots.get(slot) ?? 0) + 1);
  }
  return Math.max(0, ...slots.values());
}

function failures({ failures }: Report): void {
  for (const [reason, count] of Object.entries(failures)) {
    console.log(`          ${count} times: ${reason}`);
  }
}
