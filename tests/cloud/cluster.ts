import { eventually, PREFIX, subnetOf, writeSysconfig } from "../e2e/guide.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { LabUnit, type UnitOptions } from "../lab/unit.ts";
import type { CloudLab, CloudMachine } from "./cloud_lab.ts";
import type { ServePlace } from "./serve.ts";

/** The provider's router, and where its services answer. */
const GATEWAY = "172.28.128.1";

/** Milliseconds between two reads of the provider's table by the router. */
const FOLLOW = 200;

/**
 * Lab hosts as machines of a fake cloud. The hosts' switch is the provider's router: it forwards only by
 * the provider's present table.
 */
export class CloudCluster<Cloud extends CloudLab> implements AsyncDisposable {
  readonly lab: Lab;
  readonly cloud: Cloud;
  readonly etcd: LabEtcd;
  readonly machines: CloudMachine[];
  readonly units = new Map<string, LabUnit>();
  readonly #stack: AsyncDisposableStack;

  private constructor(
    lab: Lab,
    cloud: Cloud,
    etcd: LabEtcd,
    machines: CloudMachine[],
    stack: AsyncDisposableStack,
  ) {
    this.lab = lab;
    this.cloud = cloud;
    this.etcd = etcd;
    this.machines = machines;
    this.#stack = stack;
  }

  /**
   * Starts three hosts, etcd and the provider; no agent.
   *
   * @param config the network's
   */
  static async start<Cloud extends CloudLab>(
    startCloud: (place: ServePlace) => Promise<Cloud>,
    config: unknown,
  ): Promise<CloudCluster<Cloud>> {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.start({ hosts: 3 }));
    const hub = lab.switch;
    await hub.exec(["ip", "address", "add", `${GATEWAY}/24`, "dev", "br0"]);
    await hub.exec(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    for (const host of lab.hosts) {
      // As the default route of a machine in a cloud does.
      await host.exec(["ip", "route", "add", "10.20.0.0/16", "via", GATEWAY, "dev", "eth1"]);
    }
    const cloud = stack.use(
      await startCloud({ netns: `/proc/${hub.pid}/ns/net`, hostname: GATEWAY }),
    );
    const machines = [];
    for (const { name, address } of lab.hosts) {
      machines.push(await cloud.addMachine(name, address));
    }
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set("v2", `${PREFIX}/config`, JSON.stringify(config));
    return new CloudCluster(lab, cloud, etcd, machines, stack.move());
  }

  /** Starts a host's agent as a machine of the provider. */
  async startAgent(host: UnderlayHost, options: UnitOptions = {}): Promise<LabUnit> {
    const machine = this.machines.find(({ name }) => name === host.name)!;
    await writeSysconfig(host, this.etcd);
    const text = await host.readTextFile("/etc/sysconfig/flanneld");
    const env = Object.entries(machine.env).map(([name, value]) => `${name}="${value}"\n`);
    await host.writeTextFile("/etc/sysconfig/flanneld", text + env.join(""));
    const unit = this.#stack.use(await LabUnit.start(host, options));
    this.units.set(host.name, unit);
    return unit;
  }

  /** A host's machine was replaced by another with the same address. */
  replaceMachine(machine: CloudMachine): void {
    const at = this.machines.findIndex(({ name }) => name === machine.name);
    this.machines[at] = machine;
  }

  /** `10.20.93.0/24 host100` for each host, sorted: the desired content of the provider's table. */
  async expected(): Promise<string[]> {
    const lines = this.lab.hosts.map(async (host) => `${await subnetOf(host)} ${host.name}`);
    return (await Promise.all(lines)).sort();
  }

  /** Waits until the provider's table has exactly the desired routes. */
  async routesInPlace(): Promise<void> {
    const expected = (await this.expected()).join();
    await eventually(
      `routes ${expected}`,
      async () => (await this.cloud.routes()).join() === expected,
    );
  }

  /** Pings between the containers' subnets of all hosts, by the provider's router alone. */
  async pings(): Promise<void> {
    const ending = new AbortController();
    const following = this.#route(ending.signal);
    try {
      const bases: string[] = [];
      for (const host of this.lab.hosts) {
        const base = (await subnetOf(host)).split("/")[0]!;
        await host.exec(["ip", "address", "replace", `${base}/32`, "dev", "lo"]);
        bases.push(base);
      }
      await eventually("a full mesh", async () => {
        const pairs = this.lab.hosts.flatMap((from, i) =>
          bases.filter((_, j) => j !== i).map((to) => from.ping(to, { args: ["-I", bases[i]!] }))
        );
        return (await Promise.all(pairs)).every((count) => count === 1);
      });
    } finally {
      ending.abort();
      await following;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  /** Keeps the router's kernel at the provider's table. */
  async #route(ending: AbortSignal): Promise<void> {
    let before = new Set<string>();
    while (!ending.aborted) {
      const addresses = new Map(this.machines.map(({ name, address }) => [name, address]));
      const now = new Set(
        (await this.cloud.routes()).flatMap((line) => {
          const [destination, name] = line.split(" ");
          const via = addresses.get(name!);
          return via === undefined ? [] : [`${destination} via ${via}`];
        }),
      );
      for (const route of before) {
        if (!now.has(route)) await this.#ip("del", route);
      }
      for (const route of now) {
        if (!before.has(route)) await this.#ip("replace", route);
      }
      before = now;
      await new Promise((resolve) => setTimeout(resolve, FOLLOW));
    }
  }

  async #ip(verb: string, route: string): Promise<void> {
    await this.lab.switch.exec(["ip", "route", verb, ...route.split(" ")]);
  }
}
