import type { NetworkConfig } from "../../mod/config/mod.ts";
import { formatIPv4, Prefix } from "../../mod/ip/mod.ts";
import { encodeLeaseValue, leaseKey, PERMANENT } from "../../mod/lease/mod.ts";
import { ip } from "../../mod/store/testing/store_lab.ts";
import { ModelHost } from "./host.ts";
import { ModelOperator } from "./operator.ts";
import { type ModelProcess, PREFIX, type ProcessGlobals } from "./process.ts";
import { type Disturbance, DISTURBANCES, disturbancesOf, type Scenario } from "./scenario.ts";
import { StoreData, type StoreRequest } from "./store_data.ts";

/** Milliseconds between two checks of a newcomer, and beyond its grace period. */
const [POLL, GRACE] = [200, 7_000];

/** One network's store, its hosts, and everything that can happen to them, one thing at a time. */
export class World {
  readonly scenario: Scenario;
  readonly data: StoreData;
  readonly hosts: readonly ModelHost[];
  readonly subnets: readonly Prefix[];
  readonly operator: ModelOperator;
  /** Requests that were given up and are still on their way. */
  readonly late: { readonly request: StoreRequest; readonly from: string }[] = [];
  /** A problem found while an action ran. */
  problem: string | undefined;
  /** True when the last action has picked a subnet at random. */
  hasPicked = false;
  disturbed = 0;
  readonly #globals: ProcessGlobals;
  readonly #kinds: ReadonlySet<Disturbance>;
  /** Hosts that were cut off or stood still since they took their lease. */
  readonly #away = new Set<ModelHost>();
  /** Revision at which a host began what it does, and what it had then. */
  readonly #begun = new Map<ModelHost, { readonly revision: number; readonly env?: Prefix }>();

  private constructor(scenario: Scenario, config: NetworkConfig, globals: ProcessGlobals) {
    const { store, hosts, subnets } = scenario;
    this.scenario = scenario;
    this.#globals = globals;
    this.data = new StoreData(store);
    this.data.put(`${PREFIX}/config`, config.text, PERMANENT, "operator");
    this.hosts = Object.entries(hosts).map(([name, publicIP]) =>
      new ModelHost(name, publicIP, this.data, config)
    );
    this.subnets = Array.from({ length: subnets }, (_, i) => Prefix.parse(`10.20.${i + 1}.0/24`)!);
    this.operator = new ModelOperator("operator", this.data);
    this.#kinds = disturbancesOf(scenario);
  }

  /** Makes a world as the scenario has it at the beginning. */
  static async create(
    scenario: Scenario,
    config: NetworkConfig,
    globals: ProcessGlobals,
  ): Promise<World> {
    const world = new World(scenario, config, globals);
    if (scenario.isRunning) {
      for (const host of world.hosts) {
        await world.act(`start ${host.name}`);
        await world.comeToRest();
      }
      world.disturbed = 0;
    }
    return world;
  }

  /** Returns the possible next actions: first those without cost, then disturbances. */
  actions(): string[] {
    const free: string[] = [];
    const faults: string[] = [];
    const fault = (kind: Disturbance, target = "") => {
      if (this.#kinds.has(kind)) faults.push(`${kind} ${target}`.trim());
    };
    for (const host of this.hosts) {
      const { name, agent } = host;
      if (!host.isConnected) free.push(`heal ${name}`);
      if (agent === undefined) {
        if (host.refused) fault("again", name);
        else free.push(`start ${name}`);
        continue;
      }
      fault("kill", name);
      fault("reboot", name);
      if (host.isConnected) fault("cut", name);
      this.#actionsOf(agent, name, host.isConnected, free, fault);
      if (agent.isBusy || !host.isConnected) continue;
      if (agent.hasNews) free.push(`watch ${name}`);
      if (agent.isRetryPlanned) free.push(`retry ${name}`);
      if (agent.isRenewalPlanned) fault("renew", name);
    }
    this.#actionsOf(this.operator, "operator", true, free, fault);
    if (!this.operator.isBusy) fault(this.operator.reserved.size === 0 ? "reserve" : "release");
    for (const i of this.late.keys()) free.push(`arrive ${i}`);
    for (const key of this.data.entries.keys()) {
      if (this.#canExpire(key)) free.push(`expire ${key}`);
    }
    if (this.hosts.some(({ agent }) => agent?.hasNews)) fault("forget");
    fault("jump");
    return this.disturbed < this.scenario.disturbances ? [...free, ...faults] : free;
  }

  /**
   * Lets something happen.
   *
   * @param action with `#N` at its end the Nth of the free subnets is picked, where one is
   */
  async act(action: string): Promise<void> {
    const [what, pick = "0"] = action.split("#");
    const [verb, target = ""] = what!.split(" ");
    if ((DISTURBANCES as readonly string[]).includes(verb!)) this.disturbed++;
    this.#globals.random = (Number(pick) + 0.5) / this.subnets.length;
    this.#globals.asked = 0;
    const host = this.hosts.find(({ name }) => name === target);
    const before = host?.agent;
    const [lease, requested] = [before?.keeper.lease, before?.request];
    if (host !== undefined && !before?.isBusy) {
      const env = host.env;
      this.#begun.set(host, {
        revision: this.data.revision,
        ...(env === undefined ? {} : { env }),
      });
    }
    await this.#do(verb!, target, host);
    const request = host?.agent?.request;
    this.hasPicked = this.#globals.asked > 0 && request !== requested &&
      request?.type === "write" && request.key.includes("/subnets/") &&
      request.expect === "absent";
    if (host === undefined) return;
    if (host.refused && before !== undefined && lease !== undefined && !this.#away.has(host)) {
      this.problem = `${host.name}, which was there and in reach, has lost its public IP`;
    }
    const now = host.agent?.keeper.lease;
    if (now === undefined) return;
    if (lease === undefined) this.problem ??= this.#elsewhere(host, now.subnet);
    // A returning host may hold its lease again before it learns the present holder of its public IP.
    const record = this.data.entries.get(this.#recordKey(host));
    const isBack = host.isConnected && !host.agent!.isReplyDue;
    const isClaim = record?.value.includes('"claims":');
    if (isBack && record?.writer === host.agent!.name && !isClaim) this.#away.delete(host);
  }

  /** Lets everything come to rest without another fault. @returns false when it does not */
  async comeToRest(): Promise<boolean> {
    for (const host of this.hosts) host.isConnected = true;
    while (this.late.length > 0) await this.act("arrive 0");
    let retries = 0;
    for (let step = 0; step < 500; step++) {
      const next = this.#calm() ??
        // One that is retried in vain finds the same again.
        (retries < 4 * this.hosts.length ? this.#retry() : undefined);
      if (next === undefined) return true;
      if (next.startsWith("retry")) retries++;
      await this.act(next);
      if (this.problem !== undefined) return true;
    }
    return false;
  }

  /**
   * Returns a digest that differs between states, except for the numbers of their revisions and the number of
   * disturbances that led to them.
   */
  digest(): string {
    const text = JSON.stringify([
      [...this.data.entries].sort(([a], [b]) => a < b ? -1 : 1)
        .map(([key, entry]) => [key, entry]),
      this.hosts.map((host) => [host.state, host.agent?.news, this.#away.has(host)]),
      [this.operator.progress, [...this.operator.reserved], this.late],
    ]);
    const revisions = [...new Set(text.match(/\br\d+\b/g))]
      .sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
    const ranks = new Map(revisions.map((revision, rank) => [revision, `r${rank}`]));
    return text.replace(/\br\d+\b/g, (revision) => ranks.get(revision)!);
  }

  /** Returns the next action without disturbances; `undefined` when only retries are left. */
  #calm(): string | undefined {
    const ways = this.hosts.flatMap(({ name, agent }) =>
      agent === undefined ? [] : [[name, agent]]
    );
    for (
      const [name, process] of [["operator", this.operator], ...ways] as [string, ModelProcess][]
    ) {
      if (process.isReplyDue) return `reply ${name}`;
      if (process.request !== undefined) return `ok ${name}`;
    }
    for (const { name, agent } of this.hosts) {
      if (agent !== undefined && !agent.isBusy && agent.hasNews) return `watch ${name}`;
    }
    return undefined;
  }

  #retry(): string | undefined {
    const [host] = this.hosts.filter(({ agent }) =>
      agent !== undefined && (agent.isRetryPlanned || agent.sleep !== undefined)
    ).sort((a, b) => Number(b.agent!.isRetryPlanned) - Number(a.agent!.isRetryPlanned));
    if (host === undefined) return undefined;
    if (host.agent!.isRetryPlanned && !host.agent!.isBusy) return `retry ${host.name}`;
    return `${host.agent!.sleep === POLL ? "grace" : "wake"} ${host.name}`;
  }

  /** The value that a host writes for its lease. */
  valueOf(host: ModelHost): string {
    return encodeLeaseValue(host.attributes, this.data.traits.leaseForm);
  }

  keyOf(subnet: Prefix): string {
    return `${PREFIX}/subnets/${leaseKey(subnet)}`;
  }

  #actionsOf(
    process: ModelProcess,
    name: string,
    isConnected: boolean,
    free: string[],
    fault: (kind: Disturbance, target: string) => void,
  ): void {
    const { request } = process;
    if (request !== undefined) {
      if (!isConnected) free.push(`lost ${name}`);
      else if (process.isReplyDue) free.push(`reply ${name}`);
      else {
        free.push(`ok ${name}`);
        fault("drop", name);
        if (request.type !== "write" && request.type !== "remove") return;
        for (const kind of ["lose", "late", "slow"] as const) fault(kind, name);
        if (request.type === "write") fault("repeat", name);
      }
    }
    if (!isConnected || process.sleep === undefined) return;
    if (process.sleep !== POLL) return void free.push(`wake ${name}`);
    const host = this.hosts.find((host) => host.name === name)!;
    const record = this.data.entries.get(this.#recordKey(host));
    if (record?.writer !== process.name) free.push(`poll ${name}`);
    else if (this.#areOthersQuiet(host)) free.push(`grace ${name}`);
  }

  #recordKey({ attributes }: ModelHost): string {
    return `${PREFIX}/agents/${formatIPv4(attributes.publicIP)}`;
  }

  /** True when every other host that is in reach has had time to do all that it has to do. */
  #areOthersQuiet(host: ModelHost): boolean {
    return this.hosts.every((other) => {
      const { agent } = other;
      if (other === host || agent === undefined || !other.isConnected) return true;
      if (agent.isReplyDue) return true;
      // A host that waits for another host's answer polls every 200 ms.
      const record = this.data.entries.get(this.#recordKey(other));
      if (agent.sleep === POLL) return record?.writer === agent.name;
      if (agent.sleep !== undefined) return true;
      return !agent.isBusy && !agent.isRetryPlanned && !agent.hasNews;
    });
  }

  /** An entry runs out that nobody renews: its writer is gone, away, or has another one. */
  #canExpire(key: string): boolean {
    const { ttl, writer, revision } = this.data.entries.get(key)!;
    if (ttl === PERMANENT) return false;
    // It lives for a day, and news of it is with every host in reach within seconds.
    const isNews = this.hosts.some(({ agent, isConnected }) =>
      agent !== undefined && isConnected && !agent.isReplyDue && agent.news !== "lost" &&
      agent.news.some((event) => event.revision === revision)
    );
    if (isNews) return false;
    const host = this.hosts.find(({ agent }) => agent?.name === writer);
    const agent = host?.agent;
    if (agent === undefined || !host!.isConnected || agent.isReplyDue) return true;
    if (agent.isBusy) return false;
    const { lease, identity } = agent.keeper;
    const own = [
      lease && this.keyOf(lease.subnet),
      identity && `${PREFIX}/agents/${formatIPv4(identity.publicIP)}`,
    ];
    return !own.includes(key);
  }

  async #do(verb: string, target: string, host: ModelHost | undefined): Promise<void> {
    const process = host?.agent ?? this.operator;
    switch (verb) {
      case "start":
      case "again":
        return await host!.start();
      case "heal":
        host!.isConnected = true;
        return;
      case "cut":
        host!.isConnected = false;
        this.#away.add(host!);
        return;
      case "kill":
        return host!.kill();
      case "reboot":
        return host!.reboot();
      case "watch":
        return await host!.agent!.watch();
      case "retry":
        return await host!.agent!.retry();
      case "renew":
        return await host!.agent!.renew();
      case "ok":
        process.carryOut();
        return await process.reply();
      case "slow":
        process.carryOut();
        if (host !== undefined) this.#away.add(host);
        return;
      case "reply":
        return await process.reply();
      case "repeat":
        process.carryOut();
        process.carryOut();
        return await process.reply();
      case "lose":
        process.carryOut();
        return await process.fail();
      case "late":
        this.late.push({ request: process.request!, from: process.name });
        return await process.fail();
      case "drop":
      case "lost":
        return await process.fail();
      case "arrive": {
        const [{ request, from }] = this.late.splice(Number(target), 1) as [typeof this.late[0]];
        this.data.apply(request, from);
        return;
      }
      case "wake":
        return await process.wake(process.sleep!);
      case "poll":
        return await process.wake(POLL);
      case "grace":
        return await process.wake(GRACE);
      case "expire":
        return this.data.delete(target);
      case "jump":
        for (const [key, { ttl }] of this.data.entries) {
          if (ttl !== PERMANENT) this.data.delete(key);
        }
        return;
      case "forget":
        return this.data.forgetHistory();
      case "reserve":
        return await this.operator.reserve(this.subnets[0]!, ip(this.scenario.reserveFor!));
      case "release":
        return await this.operator.release(this.subnets[0]!);
      default:
        throw new TypeError(`there is no action ${verb}`);
    }
  }

  /** A host that returns has its own subnet again, unless somebody else has or had it. */
  #elsewhere(host: ModelHost, subnet: Prefix): string | undefined {
    const { revision, env } = this.#begun.get(host)!;
    const value = this.valueOf(host);
    const isOther = (entry: { readonly value: string } | undefined) =>
      entry !== undefined && entry.value !== value;
    const [before, after] = [
      this.data.history.slice(0, revision),
      this.data.history.slice(revision),
    ];
    const at = (key: string) => before.findLast((event) => event.key === key)?.entry;
    if (env === undefined || env.equals(subnet)) return undefined;
    const key = this.keyOf(env);
    if (isOther(at(key)) || after.some((event) => event.key === key && isOther(event.entry))) {
      return undefined;
    }
    // A lease with its public IP that stands comes first: a reservation, or another host's that had it.
    const publicIP = `"${formatIPv4(host.attributes.publicIP)}"`;
    const stood = [at(this.keyOf(subnet)), ...after.map(({ entry }) => entry)];
    if (
      stood.some((entry) => entry !== undefined && isOther(entry) && entry.value.includes(publicIP))
    ) {
      return undefined;
    }
    if (at(this.keyOf(subnet))?.value === value) return undefined;
    return `${host.name} had ${env}, which nobody took, and has ${subnet} now`;
  }
}
