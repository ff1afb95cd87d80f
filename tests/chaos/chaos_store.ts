import { EtcdCluster } from "../lab/etcd/etcd_cluster.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import type { EtcdServer } from "../lab/etcd/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { delay } from "../lab/process.ts";
import { TcpProxy } from "../lab/tcp_proxy.ts";
import { FLANNELD } from "../lab/unit.ts";
import { PREFIX } from "../e2e/guide.ts";
import { formatIPv4 } from "../../mod/ip/mod.ts";
import { openStore } from "../../mod/store/open.ts";
import type { NetworkStore, Snapshot } from "../../mod/store/mod.ts";
import type { StoreKind } from "./fault.ts";
import type { LeaseFacts } from "./kernel_state.ts";

/** Address of the hosts' switch, where agents reach etcd's members. */
const SWITCH = "172.28.128.1";

/** Client port of the first member there; the others' follow. */
const ETCD_PORT = 2379;

/** Port of the agent that serves the embedded store. */
const LISTEN_PORT = 8889;

const MEMBERS = 3;

/**
 * Further options of a member: elections as etcd has them by default, since a busy machine has the
 * lab's shorter ones fail; and requests of 16 MiB, for configs that nobody should write.
 */
const ETCD_FLAGS = [
  "--heartbeat-interval=100",
  "--election-timeout=1000",
  "--max-request-bytes=16777216",
];

/** Milliseconds for which the tester retries a call that a faulty store refuses. */
const INSIST_MS = 60_000;

/** How long it waits for one answer, in milliseconds. */
const CALL_TIMEOUT_MS = 3_000;

/**
 * The store of a cluster: three members of etcd, which agents reach through the hosts' switch, or the file
 * of the first host's agent, which serves it to the others. The tester reaches both by itself, whatever
 * agents can.
 */
export class ChaosStore implements AsyncDisposable {
  readonly kind: StoreKind;
  /** Of etcd; none of the embedded store. */
  readonly members: readonly EtcdServer[];
  /** Where agents reach it. */
  readonly address: string;
  readonly ports: readonly number[];
  /** The host that {@linkcode address} is on. */
  readonly server: LabHost;
  readonly #direct: NetworkStore;
  readonly #etcd: EtcdCluster | undefined;
  readonly #path: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    kind: StoreKind,
    lab: Lab,
    direct: NetworkStore,
    etcd: EtcdCluster | undefined,
    stack: AsyncDisposableStack,
  ) {
    this.kind = kind;
    this.#direct = direct;
    this.#etcd = etcd;
    this.#path = fileOf(lab);
    this.#stack = stack;
    this.members = etcd?.members ?? [];
    this.server = etcd === undefined ? lab.hosts[0]! : lab.switch;
    this.address = etcd === undefined ? lab.hosts[0]!.address : SWITCH;
    this.ports = etcd === undefined ? [LISTEN_PORT] : this.members.map((_, i) => ETCD_PORT + i);
  }

  /**
   * Starts a store with a network's config.
   *
   * @param beside another cluster's store, whose etcd this one shares below another prefix
   */
  static async start(
    kind: StoreKind,
    lab: Lab,
    config: string,
    beside?: ChaosStore,
  ): Promise<ChaosStore> {
    await using stack = new AsyncDisposableStack();
    if (kind === "embedded") {
      const path = fileOf(lab);
      await lab.hosts[0]!.exec([
        ...[FLANNELD, "config", "set", "-yes", `-store=embedded=${path}`, config],
      ]);
      const direct = stack.use(await opened({ kind, path }));
      return new ChaosStore(kind, lab, direct, undefined, stack.move());
    }
    const etcd = (beside === undefined ? undefined : beside.#etcd) ??
      stack.use(await EtcdCluster.start(MEMBERS, ETCD_FLAGS));
    await lab.switch.exec(["ip", "address", "add", `${SWITCH}/24`, "dev", "br0"]);
    for (const [i, { endpoint }] of etcd.members.entries()) {
      const netns = `/proc/${lab.switch.pid}/ns/net`;
      stack.use(new TcpProxy(endpoint, { hostname: SWITCH, port: ETCD_PORT + i, netns }));
    }
    const prefix = beside === undefined ? PREFIX : `${PREFIX}-${crypto.randomUUID().slice(0, 8)}`;
    const options = { kind: "etcd", endpoints: etcd.endpoints, prefix, api: kind } as const;
    const store = new ChaosStore(kind, lab, stack.use(await opened(options)), etcd, stack.move());
    store.prefix = prefix;
    await store.insist((direct, signal) => direct.putConfig(config, undefined, { signal }));
    return store;
  }

  /** Directory of the network in etcd. */
  prefix: string = PREFIX;

  /** Flags that a host's agent reaches the store by. @param index of the host */
  flagsOf(index: number): string {
    if (this.kind !== "embedded") {
      const endpoints = this.ports.map((port) => `http://${SWITCH}:${port}`).join(",");
      return `-etcd-endpoints=${endpoints} -etcd-prefix=${this.prefix} -etcd-api=${this.kind}`;
    }
    const server = `${this.address}:${LISTEN_PORT}`;
    return index === 0
      ? `-store=embedded=${this.#path} -listen=${server} -listen-allow-unauthenticated`
      : `-remote=${server}`;
  }

  /** Reads everything. @throws {Error} when the store does not answer at once */
  snapshot(): Promise<Snapshot> {
    return this.#direct.snapshot({ signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
  }

  /** Makes a change in the store; retries while the store is faulty. @throws the last error */
  async insist<T>(action: (store: NetworkStore, signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = Date.now() + INSIST_MS;
    for (;;) {
      try {
        return await action(this.#direct, AbortSignal.timeout(CALL_TIMEOUT_MS * 2));
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await delay(200);
      }
    }
  }

  /** Writes another config, whatever there is. */
  async setConfig(text: string): Promise<void> {
    await this.insist(async (store, signal) => {
      const { config } = await store.snapshot({ signal });
      await store.putConfig(text, "text" in config ? config.text : undefined, { signal });
    });
  }

  /** etcd as an operator's tool or somebody hostile reaches it: by whichever member answers. */
  get raw(): EtcdKeys | EtcdGateway {
    const etcd = {
      fetch: async (path: string, init: RequestInit = {}) => {
        let failure: unknown;
        for (let attempt = 0; attempt < 20; attempt++) {
          for (const member of this.members.filter(({ pid }) => pid !== undefined)) {
            const signal = AbortSignal.timeout(CALL_TIMEOUT_MS * 2);
            try {
              return await member.fetch(path, { ...init, signal });
            } catch (error) {
              failure = error;
            }
          }
          await delay(200);
        }
        throw failure;
      },
    };
    return this.kind === "v2" ? new EtcdKeys(etcd) : new EtcdGateway(etcd);
  }

  /** Returns the leader; any member when none claims to lead. */
  async leader(): Promise<EtcdServer> {
    for (const member of this.members) {
      const response = await member.fetch("/v3/maintenance/status", {
        ...{ method: "POST", body: "{}", signal: AbortSignal.timeout(CALL_TIMEOUT_MS) },
      }).catch(() => undefined);
      const status = await response?.json().catch(() => undefined);
      if (status?.leader !== undefined && status.leader === status.header?.member_id) return member;
    }
    return this.members[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The leases of a snapshot, as far as kernels are concerned. */
export function leaseFacts({ leases }: Snapshot): LeaseFacts[] {
  return leases.map(({ subnet, attributes: { publicIP, backendData } }) => {
    const data = backendData as { readonly VtepMAC?: string } | undefined;
    return {
      ...{ subnet: `${subnet}`, publicIP: formatIPv4(publicIP) },
      ...(data?.VtepMAC === undefined ? {} : { vtepMac: data.VtepMAC }),
    };
  });
}

function fileOf(lab: Lab): string {
  return `${lab.dir}/leases.db`;
}

async function opened(options: Parameters<typeof openStore>[0]): Promise<NetworkStore> {
  const found = await openStore(options);
  if ("waiting" in found) throw new Error(found.waiting);
  return found.store;
}
