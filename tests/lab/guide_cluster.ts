import { CONFIG, eventually, isFullMesh, PREFIX, subnetOf, writeSysconfig } from "../e2e/guide.ts";
import { Lab, type UnderlayHost } from "./lab.ts";
import { type EtcdApi, LabEtcd } from "./etcd/lab_etcd.ts";
import { LabUnit, type UnitOptions } from "./unit.ts";

/** Options of {@linkcode GuideCluster.start}. */
export interface GuideClusterOptions {
  /** How many hosts. @default 1 */
  readonly hosts?: number;
  /** Index of the host that etcd runs on. @default 0 */
  readonly etcdOn?: number;
  /** etcd store of the network. @default "v2" */
  readonly api?: EtcdApi;
  /** The network's config; `null` for none yet. @default the guide's, vxlan */
  readonly config?: string | null;
  /** FLANNEL_OPTIONS of every host. @default "-iface=eth1" */
  readonly options?: string;
}

/** Members of a stored lease value that the tests read. */
export interface StoredLeaseValue {
  readonly PublicIP: string;
  readonly BackendData?: { readonly VtepMAC?: string };
}

/** Hosts of a lab, etcd with the guide's network on one of them, and agents where they are started. */
export class GuideCluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly etcd: LabEtcd;
  readonly api: EtcdApi;
  readonly #stack: AsyncDisposableStack;

  private constructor(lab: Lab, etcd: LabEtcd, api: EtcdApi, stack: AsyncDisposableStack) {
    this.lab = lab;
    this.etcd = etcd;
    this.api = api;
    this.#stack = stack;
  }

  /** Starts hosts and etcd, and writes the network's config and each host's sysconfig; no agent. */
  static async start(
    { hosts = 1, etcdOn = 0, api = "v2", config = CONFIG, options }: GuideClusterOptions = {},
  ): Promise<GuideCluster> {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.start({ hosts }));
    const etcd = stack.use(await LabEtcd.start(lab.hosts[etcdOn]!));
    if (config !== null) await etcd.set(api, `${PREFIX}/config`, config);
    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd, options === undefined ? {} : { options });
    }
    return new GuideCluster(lab, etcd, api, stack.move());
  }

  get hosts(): readonly UnderlayHost[] {
    return this.lab.hosts;
  }

  /** The first host, or the only one. */
  get host(): UnderlayHost {
    return this.hosts[0]!;
  }

  /** Writes another config of the network. */
  async setConfig(config: string): Promise<void> {
    await this.etcd.set(this.api, `${PREFIX}/config`, config);
  }

  /** Starts a host's unit, which is stopped with the cluster. */
  async startAgent(host: UnderlayHost, options: UnitOptions = {}): Promise<LabUnit> {
    return this.#stack.use(await LabUnit.start(host, options));
  }

  /** Starts the unit on every host, one after the other. */
  async startAgents(options: UnitOptions = {}): Promise<LabUnit[]> {
    const units: LabUnit[] = [];
    for (const host of this.hosts) units.push(await this.startAgent(host, options));
    return units;
  }

  /** Waits until every host reaches every other over the overlay. */
  async untilFullMesh(what = "a full mesh"): Promise<void> {
    await eventually(what, () => isFullMesh(this.hosts));
  }

  /** Returns etcd's value for a host's subnet; `undefined` when there is none. */
  async leaseValue(host: UnderlayHost): Promise<StoredLeaseValue | undefined> {
    const key = (await subnetOf(host)).replace("/", "-");
    const value = await this.etcd.get(this.api, `${PREFIX}/subnets/${key}`);
    return value === undefined ? undefined : JSON.parse(value);
  }

  /** Keys of agents' records, without their directory: the public IPs, sorted. */
  async agentKeys(): Promise<string[]> {
    const keys = await this.etcd.keys(this.api, `${PREFIX}/agents`);
    return keys.map((key) => key.split("/").at(-1)!).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
