import { delay, type LabProcess } from "../lab/process.ts";
import { FLANNELD } from "../lab/unit.ts";
import { Prefix } from "../../mod/ip/mod.ts";
import type { NetworkReport } from "../../mod/agent/status/status.ts";
import { configureLog } from "../../mod/observe/log/log.ts";
import { leaseFacts } from "./chaos_store.ts";
import { ChaosCluster, type ChaosHost } from "./cluster.ts";
import type { Consequence, Fault, Heal, StoreKind } from "./fault.ts";
import { STRAY } from "./fault.ts";
import { type Broken, type ClusterState, findBroken, type HostState } from "./invariants.ts";
import {
  isContainerAddress,
  type LeaseFacts,
  programmedObjects,
  wantedObjects,
} from "./kernel_state.ts";
import type { Loss } from "./ping_ledger.ts";
import { Pings } from "./pings.ts";
import { backendOf, formatRound, type PlannedFault, type Round, scheduleOf } from "./schedule.ts";
import { randomFrom } from "../lab/random.ts";

/** Milliseconds between two full checks. */
const LOOK_MS = 1_000;

/**
 * Within this many rounds of pings of calm the kernels are what the store asks for: 10 s of a machine that
 * has time. On one with fifty programs a processor, where agents run as rarely as the thread that pings,
 * it is longer.
 */
const RECOVERY_ROUNDS = 1_000;

/** Milliseconds after which a cluster is given up that does not recover. */
const GIVE_UP_MS = 240_000;

/** How long `flanneld plan` may still find something then: firewall tools are slow on a busy machine. */
const PLAN_MS = 20_000;

/** Show a host's state, what changes soonest first; the run's own pings go on meanwhile. */
const STATE: readonly (readonly string[])[] = [
  ["ip", "-s", "neighbour"],
  ["timeout", "2", "tcpdump", "--immediate-mode", "-nne", "-i", "any", "-c", "400"],
  ["ip", "-s", "-d", "link"],
  ["ip", "route", "show", "table", "all"],
  ["cat", "/proc/net/nf_conntrack"],
  ["iptables-save", "-c"],
  [FLANNELD, "status", "-json", "-peers=all"],
  [FLANNELD, "doctor"],
];

/** The network that agents lease from, in leases below those that faults write. */
const NETWORK = "10.20.0.0/16";
const LEASED = {
  Network: NETWORK,
  SubnetLen: 24,
  SubnetMin: "10.20.1.0",
  SubnetMax: "10.20.199.0",
};

/** Length from which a run is a long one. */
const LONG_MINUTES = 30;

/** Description of a run. */
export interface RunOptions {
  readonly store: StoreKind;
  readonly seed: number;
  /** From {@linkcode LONG_MINUTES} on faults stay longer, those that take a minute take it, and one host more runs. */
  readonly minutes: number;
  readonly faults: readonly Fault[];
  /** Called with each round, and each broken invariant. */
  readonly log: (line: string) => void;
}

/** Result of a run. */
export interface RunReport {
  readonly store: StoreKind;
  readonly backend: string;
  readonly seed: number;
  /** The rounds that were begun, a line each. */
  readonly schedule: readonly string[];
  /** How many times each fault was injected. */
  readonly injected: ReadonlyMap<string, number>;
  /** Pings between unaffected hosts. */
  readonly sent: number;
  readonly lost: number;
  /** Pings from or to affected hosts. */
  readonly uncounted: number;
  /** The longest time without a ping, in milliseconds: the machine's fault. */
  readonly longestPauseMs: number;
  /** The longest wait for a reply, in milliseconds. */
  readonly slowestReplyMs: number;
  /** The slowest recovery, in rounds of pings. */
  readonly slowestRecovery: number;
  /** The most that an agent took, in MiB. */
  readonly mostResidentMiB: number;
  /** Distinct violations. */
  readonly broken: readonly string[];
  /** Directory of the agents' logs, when anything was. */
  readonly logs: string | undefined;
}

/** Starts a cluster, injects the seed's faults, and checks all invariants all the time. */
export async function runChaos(options: RunOptions): Promise<RunReport> {
  // The tester reads the same hostile entries as agents do, and would warn of them.
  configureLog({ write: () => {} });
  const backend = backendOf(options.seed);
  const config = JSON.stringify({ ...JSON.parse(backend.config), ...LEASED });
  // Two for faults of their own, and the others, between which pings count.
  const hosts = options.minutes < LONG_MINUTES ? 4 : 5;
  await using stack = new AsyncDisposableStack();
  const run: { current?: ChaosRun } = {};
  const cluster = stack.use(
    await ChaosCluster.start({
      ...{ store: options.store, backend: { ...backend, config }, hosts },
      onExit: (host, code, line) => run.current?.noteExit(host, code, line),
    }),
  );
  await cluster.startAgents();
  run.current = stack.use(await ChaosRun.start(cluster, options));
  await run.current.go();
  return await run.current.report();
}

class ChaosRun implements AsyncDisposable {
  readonly #cluster: ChaosCluster;
  readonly #options: RunOptions;
  readonly #pings: Pings;
  readonly #addresses: (string | undefined)[] = [];
  readonly #affected = new Set<number>();
  readonly #underWay = new Map<PlannedFault, Fault>();
  readonly #allowed = new Set<Consequence>();
  readonly #broken = new Map<string, number>();
  readonly #injected = new Map<string, number>();
  readonly #schedule: string[] = [];
  readonly #monitors: LabProcess[];
  readonly #read: number[];
  readonly #began = performance.now();
  /** Of {@linkcode ChaosRun.#logs}. */
  #directory: Promise<string> | undefined;
  /** The hosts' state at the first broken invariant, which may heal before the run ends. */
  #firstState: Promise<void> | undefined;
  readonly #looking: Promise<void>;
  #isOver = false;
  #round = 0;
  #slowestRecovery = 0;
  #mostResidentMiB = 0;

  static async start(cluster: ChaosCluster, options: RunOptions): Promise<ChaosRun> {
    const monitors = [];
    for (const { lab } of cluster.hosts) {
      monitors.push(await lab.spawn(["ip", "-4", "-o", "monitor", "route"]));
    }
    return new ChaosRun(cluster, options, monitors);
  }

  private constructor(cluster: ChaosCluster, options: RunOptions, monitors: LabProcess[]) {
    this.#cluster = cluster;
    this.#options = options;
    this.#monitors = monitors;
    this.#read = monitors.map(() => 0);
    this.#pings = new Pings((losses) => this.#noteLosses(losses));
    for (const { index } of cluster.hosts) this.#affect(index);
    this.#looking = this.#look();
  }

  get #isLong(): boolean {
    return this.#options.minutes >= LONG_MINUTES;
  }

  /** Plays the schedule until the time is over. */
  async go(): Promise<void> {
    const { seed, store, minutes, faults, log } = this.#options;
    const { type } = this.#cluster.backend;
    const isLong = this.#isLong;
    const hosts = this.#cluster.hosts.length;
    log(`${store}: seed ${seed}, ${hosts} hosts, ${type}, ${minutes} minutes`);
    const end = performance.now() + minutes * 60_000;
    if (!await this.#recover()) return;
    await delay(1_000);
    for (const round of scheduleOf(seed, faults, { store, backend: type, hosts, isLong })) {
      if (performance.now() > end) return;
      await this.#play(round);
      if (!await this.#recover()) return;
      await delay(round.calmMs);
    }
  }

  async report(): Promise<RunReport> {
    const broken = [...this.#broken].map(([text, count]) =>
      count === 1 ? text : `${text} (${count} times)`
    );
    const { store, seed } = this.#options;
    const { sent, lost, uncounted, longestPauseMs, slowestMs } = this.#pings;
    return {
      ...{ store, seed, backend: this.#cluster.backend.type, schedule: this.#schedule },
      ...{ injected: this.#injected, sent, lost, uncounted, longestPauseMs, broken },
      slowestReplyMs: slowestMs,
      ...{ slowestRecovery: this.#slowestRecovery, mostResidentMiB: this.#mostResidentMiB },
      logs: broken.length === 0 ? undefined : await this.#keepLogs(),
    };
  }

  noteExit(host: ChaosHost, code: number, line: string): void {
    if (this.#allowed.has("exit")) return;
    this.#note({ invariant: "no agent ends by itself", detail: `${host.name}: ${code}: ${line}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#looking;
    this.#pings[Symbol.dispose]();
    await Promise.all(this.#monitors.map((monitor) => monitor.kill()));
  }

  async #play(round: Round): Promise<void> {
    const line = formatRound(round);
    this.#round = round.number;
    this.#schedule.push(line);
    this.#options.log(`${this.#time()} ${line}`);
    await Promise.all(round.faults.map((planned) => this.#inject(planned)));
  }

  async #inject(planned: PlannedFault): Promise<void> {
    const fault = this.#options.faults.find(({ name }) => name === planned.name)!;
    const host = this.#cluster.hosts[planned.host]!;
    await delay(planned.delayMs);
    this.#underWay.set(planned, fault);
    for (const consequence of fault.allows ?? []) this.#allowed.add(consequence);
    if (fault.affects === "host") this.#affect(host.index);
    if (fault.affects === "everybody") {
      for (const { index } of this.#cluster.hosts) this.#affect(index);
    }
    const isLong = this.#isLong;
    const random = randomFrom(planned.seed);
    let heal: Heal = () => Promise.resolve();
    try {
      heal = await fault.inject({ cluster: this.#cluster, host, random, isLong });
      this.#injected.set(fault.name, (this.#injected.get(fault.name) ?? 0) + 1);
      await delay(planned.holdMs);
      await heal();
    } catch (error) {
      this.#note({ invariant: `fault ${fault.name}`, detail: (error as Error).message });
    }
    this.#underWay.delete(planned);
  }

  #affect(index: number): void {
    this.#affected.add(index);
    this.#pings.setUnaffected(index, false);
  }

  /** Waits until the cluster is whole; from then on all pings count again. @returns false when it never is */
  async #recover(): Promise<boolean> {
    const { rounds } = this.#pings;
    const began = performance.now();
    let isLate = false;
    for (;;) {
      const problems = await this.#differences();
      if (problems.length === 0) problems.push(...await this.#formerConfigs());
      const isEqual = problems.length === 0;
      // News of features may wait for TCP's timer after a cut; packets flow meanwhile, as long as both agents run.
      if (isEqual) problems.push(...await this.#userPaths());
      const took = this.#pings.rounds - rounds;
      // The start is not the product's: the machine may be busy with the start of other labs.
      if (this.#round > 0) this.#slowestRecovery = Math.max(this.#slowestRecovery, took);
      if (problems.length === 0) break;
      if (took > RECOVERY_ROUNDS && !isEqual && !isLate && this.#round > 0) {
        isLate = true;
        const invariant = "kernel equal to store within 10 s";
        this.#note({ invariant, detail: problems.slice(0, 5).join("; ") });
      }
      if (performance.now() - began > GIVE_UP_MS) {
        this.#note({ invariant: "the cluster recovers", detail: problems.slice(0, 20).join("; ") });
        return false;
      }
      await delay(200);
    }
    await this.#plan();
    this.#allowed.clear();
    this.#affected.clear();
    for (const { index } of this.#cluster.hosts) this.#pings.setUnaffected(index, true);
    return true;
  }

  /** How store, kernels, files and packets differ from what they are in a cluster without faults. */
  async #differences(): Promise<string[]> {
    const { store, hosts, backend } = this.#cluster;
    let leases: LeaseFacts[];
    try {
      leases = leaseFacts(await store.snapshot()).filter(({ subnet }) =>
        Prefix.parse(NETWORK)!.containsPrefix(Prefix.parse(subnet)!)
      );
    } catch (error) {
      return [`the store does not answer: ${(error as Error).message}`];
    }
    const addresses = new Set(hosts.map(({ lab }) => lab.address));
    const problems = leases.filter(({ publicIP }) => !addresses.has(publicIP)).map((lease) =>
      `lease ${lease.subnet} of ${lease.publicIP}, which is no host`
    );
    for (const { lab } of hosts) {
      const own = leases.filter(({ publicIP }) => publicIP === lab.address);
      if (own.length !== 1) problems.push(`${lab.name} has ${own.length} leases`);
    }
    problems.push(...(await Promise.all(hosts.map(async (host) => {
      const subnet = await host.subnet();
      const { name, lab, agent } = host;
      if (agent.pid === undefined) return [`${name}: no agent runs`];
      if (leases.find((lease) => lease.subnet === subnet)?.publicIP !== lab.address) {
        return [`${name}: subnet.env has ${subnet}, which is not its lease`];
      }
      await this.#follow(host, subnet!);
      const wanted = wantedObjects(leases, lab.address, NETWORK, backend);
      const there = programmedObjects(await host.dump(), backend);
      return [
        ...wanted.filter((line) => !there.includes(line)).map((line) => `${name} lacks ${line}`),
        ...there.filter((line) => !wanted.includes(line)).map((line) => `${name} has ${line}`),
      ];
    }))).flat());
    return [...problems, ...this.#pings.silent.map((pair) => `no reply to pings of ${pair}`)];
  }

  /** Agents that have not come to the present config yet: their subnets may change, and equal the store's all the same. */
  async #formerConfigs(): Promise<string[]> {
    const wanted = this.#cluster.config;
    return await this.#ofEachStatus(({ config }) =>
      config === wanted ? [] : [`has the config ${config}`]
    );
  }

  /** Peers to whom packets need a running agent here, though the kernel could carry them. */
  async #userPaths(): Promise<string[]> {
    return await this.#ofEachStatus(({ peers: { list } }) =>
      list.filter(({ path }) => path?.startsWith("user")).map(({ subnet, path }) =>
        `sends to ${subnet} by ${path}`
      )
    );
  }

  /** Returns what is found in the status of each agent, with the host's name. */
  async #ofEachStatus(find: (network: NetworkReport) => string[]) {
    const found = await Promise.all(this.#cluster.hosts.map(async ({ name, lab }) => {
      const { code, stdout } = await lab.run([FLANNELD, "status", "-json", "-peers=all"]);
      if (code !== 0) return [`${name}: status exits with ${code}`];
      return (JSON.parse(stdout) as { networks: NetworkReport[] }).networks.flatMap(find)
        .map((what) => `${name} ${what}`);
    }));
    return found.flat();
  }

  /** Gives docker0 its address after a change of the subnet, and pings it there. */
  async #follow(host: ChaosHost, subnet: string): Promise<void> {
    const base = subnet.replace(/\.0\/.*/, ".1");
    if (this.#addresses[host.index] === base) return;
    this.#pings.setAddress(host.index, host.lab, undefined);
    const address = await host.followSubnet();
    this.#addresses[host.index] = address;
    this.#pings.setAddress(host.index, host.lab, address);
    // Until the first report about it.
    await delay(500);
  }

  /** The agents' own view: nothing would change. */
  async #plan(): Promise<void> {
    const began = performance.now();
    await Promise.all(this.#cluster.hosts.map(async ({ name, lab }) => {
      for (;;) {
        const { code, stdout, stderr } = await lab.run([FLANNELD, "plan", "-detailed-exitcode"]);
        if (code === 0) return;
        if (performance.now() - began < PLAN_MS) {
          await delay(500);
          continue;
        }
        const detail = `${name}: plan exits with ${code}: ${stdout}${stderr}`;
        return this.#note({ invariant: "plan changes nothing", detail });
      }
    }));
  }

  async #look(): Promise<void> {
    while (!this.#isOver) {
      const began = performance.now();
      for (const broken of findBroken(await this.#state())) this.#note(broken);
      this.#readMonitors();
      await delay(Math.max(100, LOOK_MS - (performance.now() - began)));
    }
  }

  async #state(): Promise<ClusterState> {
    const affected = new Set(this.#affected);
    const allowed = new Set(this.#allowed);
    const { store, hosts } = this.#cluster;
    const leases = await store.snapshot().then(leaseFacts, () => undefined);
    const states = await Promise.all(hosts.map((host) => this.#hostState(host)));
    // A fault may have begun while this was read.
    for (const index of this.#affected) affected.add(index);
    for (const consequence of this.#allowed) allowed.add(consequence);
    return {
      leases,
      hosts: states.map((state, i) => ({ ...state, isAffected: affected.has(i) })),
      strays: allowed.has("stray") ? [STRAY] : [],
    };
  }

  async #hostState(host: ChaosHost): Promise<Omit<HostState, "isAffected">> {
    const { agent, lab, index, name } = host;
    const status = await Deno.readTextFile(`/proc/${agent.pid}/status`).catch(() => "");
    const residentMiB = Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
    this.#mostResidentMiB = Math.max(this.#mostResidentMiB, residentMiB);
    const { bytes, minutes } = agent.logRate;
    return {
      ...{ name, publicIP: lab.address, residentMiB, logBytes: bytes, logMinutes: minutes },
      subnet: await host.subnet(),
      routesBefore: this.#cluster.routesBefore[index]!,
      // A kernel that could not be read is none, and is read again soon.
      kernel: await host.dump().catch(() => undefined),
    };
  }

  /** Changes to routes that came and went between two looks. */
  #readMonitors(): void {
    for (const [i, { output }] of this.#monitors.entries()) {
      const end = output.lastIndexOf("\n") + 1;
      for (const line of output.slice(this.#read[i], end).split("\n")) {
        const [, destination] =
          /^(?:Deleted )?(?:(?:local|broadcast|blackhole) )?(\S+)/.exec(line) ??
            [];
        if (destination === undefined || isContainerAddress(destination)) continue;
        const detail = `${this.#cluster.hosts[i]!.name}: ${line}`;
        this.#note({ invariant: "no host route changed", detail });
      }
      this.#read[i] = end;
    }
  }

  #noteLosses(losses: readonly Loss[]): void {
    const name = (index: number) => this.#cluster.hosts[index]!.name;
    const pairs = losses.map(({ from, to, count, reason }) =>
      `${name(from)} to ${name(to)} ${count} (${reason})`
    );
    const total = losses.reduce((sum, { count }) => sum + count, 0);
    const firstMs = Math.min(...losses.map((loss) => loss.firstMs));
    const lastMs = Math.max(...losses.map((loss) => loss.lastMs));
    this.#note({
      invariant: "every ping between unaffected hosts answered",
      detail: `${total} lost, sent within ${Math.round(lastMs - firstMs)} ms: ${pairs.join(", ")}`,
    });
  }

  /** Enters a broken invariant, with what was going on. */
  #note({ invariant, detail }: Broken): void {
    const during = [...this.#underWay.keys()].map(({ name, host }) => `${name} (host ${host})`);
    const text = `round ${this.#round}${
      during.length === 0 ? "" : `, during ${during.join(" and ")}`
    }: ${invariant}: ${detail}`;
    const count = this.#broken.get(text) ?? 0;
    this.#broken.set(text, count + 1);
    if (count === 0) this.#options.log(`${this.#time()} BROKEN ${text}`);
    this.#firstState ??= this.#keepStates("first.state");
  }

  /** Keeps each host's log, and its state, which shows what is wrong where the cluster did not recover. */
  async #keepLogs(): Promise<string> {
    await this.#firstState;
    for (const { name, agent } of this.#cluster.hosts) {
      await Deno.writeTextFile(`${await this.#logs()}/${name}.log`, agent.log);
    }
    await this.#keepStates("state");
    return await this.#logs();
  }

  /** Keeps each host's present state as a file, all hosts' at a time. */
  async #keepStates(suffix: string): Promise<void> {
    const directory = await this.#logs();
    await Promise.all(this.#cluster.hosts.map(async ({ name, lab }) => {
      const state: string[] = [];
      for (const command of STATE) {
        const { stdout, stderr } = await lab.run(command);
        state.push(`$ ${command.join(" ")}`, stdout, stderr);
      }
      await Deno.writeTextFile(`${directory}/${name}.${suffix}`, state.join("\n"));
    }));
  }

  /** Directory of a failed run's files. */
  #logs(): Promise<string> {
    return this.#directory ??= Deno.makeTempDir({ prefix: `chaos-${this.#options.store}-` });
  }

  #time(): string {
    return `${this.#options.store} ${((performance.now() - this.#began) / 1_000).toFixed(1)} s`;
  }
}
