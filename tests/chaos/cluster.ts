import type { GuideBackend } from "../e2e/guide.ts";
import { WRAPPED_PATH } from "../lab/hanging_iptables.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { ChaosAgent } from "./agent.ts";
import { ChaosStore } from "./chaos_store.ts";
import type { StoreKind } from "./fault.ts";
import { DUMP_COMMAND, hostRoutes, type KernelDump, parseDump } from "./kernel_state.ts";

/**
 * Gives docker0 the first address of the subnet, as the restart of Docker does that an operator makes after
 * a change of the subnet.
 */
const FOLLOW_SUBNET = `
. /run/flannel/subnet.env
ip link show docker0 >/dev/null 2>&1 || ip link add docker0 type bridge
ip address flush dev docker0
ip address add "$FLANNEL_SUBNET" dev docker0
ip link set docker0 up
`;

/** A host with its agent. */
export class ChaosHost implements AsyncDisposable {
  /** In the cluster's list. */
  readonly index: number;
  readonly lab: UnderlayHost;
  readonly agent: ChaosAgent;
  readonly #flags: string;

  constructor(index: number, lab: UnderlayHost, flags: string, onExit: HostExit) {
    this.index = index;
    this.lab = lab;
    this.#flags = flags;
    this.agent = new ChaosAgent(lab, (code, line) => onExit(this, code, line));
  }

  get name(): string {
    return this.lab.name;
  }

  /** Writes the agent's settings. @param env of the agent's process */
  async configure(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const lines = Object.entries({ PATH: WRAPPED_PATH, ...env }).map(([name, value]) =>
      `${name}=${value}\n`
    );
    await this.lab.writeTextFile(
      "/etc/sysconfig/flanneld",
      `FLANNEL_OPTIONS="-iface=eth1 -ip-masq ${this.#flags}"\n${lines.join("")}`,
    );
  }

  /** The leased subnet of subnet.env, `10.20.93.0/24`; `undefined` when there is none. */
  async subnet(): Promise<string | undefined> {
    const text = await this.lab.readTextFile("/run/flannel/subnet.env").catch(() => "");
    return /^FLANNEL_SUBNET=(\S+)$/m.exec(text)?.[1]?.replace(/\.1\//, ".0/");
  }

  /** Gives docker0 an address in the present subnet. @returns that address */
  async followSubnet(): Promise<string> {
    await this.lab.exec(["sh", "-ec", FOLLOW_SUBNET]);
    return (await this.subnet())!.replace(/\.0\/.*/, ".1");
  }

  /** Returns iproute2's output for the host. */
  async dump(): Promise<KernelDump> {
    return parseDump(await this.lab.exec(["sh", "-c", DUMP_COMMAND]));
  }

  /** Runs a shell's commands, and fails when one does. */
  async shell(script: string): Promise<string> {
    return await this.lab.exec(["sh", "-ec", script]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
  }
}

/** Called when an agent has ended by itself. */
export type HostExit = (host: ChaosHost, code: number, lastLine: string) => void;

/** Options of {@linkcode ChaosCluster.start}. */
export interface ClusterOptions {
  readonly store: StoreKind;
  readonly backend: GuideBackend;
  readonly hosts: number;
  /** The network's config. @default the backend's */
  readonly config?: string;
  readonly onExit: HostExit;
  /** Shares its etcd with this one. */
  readonly beside?: ChaosStore;
}

/** Hosts in namespaces, a store, and an agent for each host. */
export class ChaosCluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly store: ChaosStore;
  readonly backend: GuideBackend;
  readonly hosts: readonly ChaosHost[];
  /** {@linkcode hostRoutes} of each host before its first agent. */
  readonly routesBefore: readonly (readonly string[])[];
  readonly #stack: AsyncDisposableStack;
  #config: string;

  private constructor(
    { lab, store, backend, config, hosts, routesBefore, stack }: {
      lab: Lab;
      store: ChaosStore;
      backend: GuideBackend;
      config: string;
      hosts: readonly ChaosHost[];
      routesBefore: readonly (readonly string[])[];
      stack: AsyncDisposableStack;
    },
  ) {
    this.lab = lab;
    this.store = store;
    this.backend = backend;
    this.#config = config;
    this.hosts = hosts;
    this.routesBefore = routesBefore;
    this.#stack = stack;
  }

  /** Starts hosts and store; no agent. */
  static async start(options: ClusterOptions): Promise<ChaosCluster> {
    const { store: kind, backend, hosts: count, onExit, beside } = options;
    const { config = backend.config } = options;
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.start({ hosts: count }));
    const store = stack.use(await ChaosStore.start(kind, lab, config, beside));
    const hosts = lab.hosts.map((host, i) =>
      stack.use(new ChaosHost(i, host, store.flagsOf(i), onExit))
    );
    const routesBefore = [];
    for (const host of hosts) {
      await host.configure();
      routesBefore.push(hostRoutes(await host.dump()));
    }
    return new ChaosCluster({
      ...{ lab, store, backend, config, hosts, routesBefore, stack: stack.move() },
    });
  }

  /** Text of the config that the network has while all is well. */
  get config(): string {
    return this.#config;
  }

  /**
   * Writes the config again after others, with one more blank: an agent that reports this text has left behind
   * all that came before, and the subnet that it has then is the one that it keeps.
   */
  async restoreConfig(): Promise<void> {
    this.#config = this.#config.replace("{", "{ ");
    await this.store.setConfig(this.#config);
  }

  /** Starts all agents and waits until they are ready; the one that serves the others is first. */
  async startAgents(): Promise<void> {
    const [first, ...others] = this.hosts as [ChaosHost, ...ChaosHost[]];
    const starting = first.agent.start();
    if (this.store.kind === "embedded") await starting;
    await Promise.all([starting, ...others.map(({ agent }) => agent.start())]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
