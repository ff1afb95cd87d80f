/**
 * Hosts for the tests and the bench of the udp data path: namespaces joined by a veth pair, each
 * with a node (udp_node.ts) in it.
 *
 * @module
 */
import type { CounterName } from "../../../backends/udp/user/counters.ts";
import type { PeerTraffic } from "../../../backends/udp/traffic.ts";
import type { Attachment } from "../../../backends/udp/kernel/kernel_path.ts";
import type { Reason } from "../../../backends/udp/kernel/programs/layout.ts";
import type { Offload } from "../../../backends/udp/user/worker.ts";
import { BPFFS } from "../../../mod/sys/bpf/mod.ts";
import { Namespace } from "../firewall/firewall_namespace.ts";
import type { KernelOptions, NodeCommand, NodeOptions } from "./udp_node.ts";

/** A node's answer. */
export interface NodeReport {
  readonly counters: Record<CounterName, number>;
  readonly traffic: PeerTraffic[];
  readonly offload: Offload;
  readonly leases: number;
  /** State of the kernel path, if the node has one. */
  readonly kernel?: {
    readonly attachment: Attachment;
    readonly damage: string | null;
    /** Name of the GRO device, or the reason why the GRO path is closed. */
    readonly groPath: string | null;
    readonly drops: Record<Reason, number>;
    readonly traffic: PeerTraffic[];
  };
  /** Resident set of the process, in bytes. */
  readonly rss: number;
}

/** A running udp_node.ts. */
export class UdpNode implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #answers: AsyncGenerator<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #ended = false;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#answers = lines(child.stdout);
    this.#input = child.stdin.getWriter();
  }

  /** Process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Starts a node in a namespace and waits until it carries packets. */
  static async start(
    namespace: Namespace,
    options: NodeOptions,
    flags: readonly string[] = [],
  ): Promise<UdpNode> {
    const program = new URL("./udp_node.ts", import.meta.url).pathname;
    const [enter, ...args] = namespace.prefix;
    const child = new Deno.Command(enter, {
      args: [
        ...[...args, Deno.execPath(), "run", "-A", "--no-check", "--no-lock", ...flags],
        ...[program, JSON.stringify(options)],
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const node = new UdpNode(child);
    const { value } = await node.#answers.next();
    if (value === undefined || !("ready" in JSON.parse(value))) {
      await node[Symbol.asyncDispose]();
      throw new Error(`the node did not start: ${value ?? "it ended"}`);
    }
    return node;
  }

  /** Sends the node a command and returns its state after it. */
  async send(command: NodeCommand): Promise<NodeReport> {
    await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    return JSON.parse(await this.line()) as NodeReport;
  }

  /** The node's state. */
  report(): Promise<NodeReport> {
    return this.send({ report: true });
  }

  /** The next line that the node prints. */
  async line(): Promise<string> {
    const { value } = await this.#answers.next();
    if (value === undefined) throw new Error("the node has ended");
    return value;
  }

  /** Kills the node and waits for its end. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#input.close().catch(() => {}); // Its reader may be gone already.
    await this.#answers.return(undefined);
    await this.#child.status;
  }
}

/** Addresses of the two hosts, as in the guide; their leases are .1 and .2 of {@linkcode NETWORK}. */
export const ADDRESSES = ["172.28.128.100", "172.28.128.101"] as const;
/** Address of the router next to each host, in a lab with routers. */
const GATEWAY = "172.28.128.1";
export const NETWORK = "10.40.0.0/16";
export const LEASES = ["10.40.1.0/24", "10.40.2.0/24"] as const;
/** First address of each lease: that of the device. */
export const DEVICE_ADDRESSES = ["10.40.1.0", "10.40.2.0"] as const;

/** Data paths that may exist in one cluster; `one-packet` is user space without offloads. */
export type Mode = "kernel" | "user" | "one-packet";
export const MODES: readonly Mode[] = ["kernel", "user", "one-packet"];

/** Two hosts on one wire. */
export class UdpLab implements AsyncDisposable {
  private constructor(
    readonly hosts: readonly [Namespace, Namespace],
    readonly nodes: UdpNode[],
    readonly routers: readonly Namespace[] = [],
  ) {}

  /** Directory of a host's pins; removed with the lab. */
  pins(host: 0 | 1): string {
    return `${BPFFS}/flanneld_test_${this.hosts[host].name}`;
  }

  /** Creates the hosts, connected by `eth1`. */
  static async make(): Promise<UdpLab> {
    const hosts = [await Namespace.make(), await Namespace.make()] as const;
    const ends = ADDRESSES.map((address) => ({ device: "eth1", address: `${address}/24` }));
    await hosts[0].connect(ends[0]!, hosts[1], ends[1]!);
    return new UdpLab(hosts, []);
  }

  /**
   * Creates the hosts with two routers between them, whose link has a smaller MTU than the hosts' own.
   *
   * @param mtu MTU of that link, in bytes
   */
  static async makeNarrow(mtu: number): Promise<UdpLab> {
    const hosts = [await Namespace.make(), await Namespace.make()] as const;
    const routers = [await Namespace.make(), await Namespace.make()] as const;
    await routers[0].connect(
      { device: "narrow", address: "192.0.2.1/24" },
      routers[1],
      { device: "narrow", address: "192.0.2.2/24" },
    );
    for (const [i, router] of routers.entries()) {
      const [host, own, other] = [hosts[i]!, ADDRESSES[i]!, ADDRESSES[1 - i]!];
      await host.connect(
        { device: "eth1", address: `${own}/24` },
        router,
        { device: "wide", address: `${GATEWAY}/32` },
      );
      await host.run("ip", "route", "add", other, "via", GATEWAY);
      // As on every host with containers.
      await host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
      await router.run("ip", "link", "set", "narrow", "mtu", String(mtu));
      await router.run("ip", "route", "add", own, "dev", "wide");
      await router.run("ip", "route", "add", other, "via", `192.0.2.${2 - i}`);
      await router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    }
    return new UdpLab(hosts, [], routers);
  }

  /** Starts the node of host 0 or 1, with the other as its peer. */
  async start(
    host: 0 | 1,
    options: Partial<NodeOptions> = {},
    flags: readonly string[] = [],
  ): Promise<UdpNode> {
    const other = 1 - host as 0 | 1;
    const node = await UdpNode.start(this.hosts[host], {
      ...{ network: NETWORK, address: ADDRESSES[host], own: LEASES[host] },
      peers: { [LEASES[other]]: ADDRESSES[other] },
      ...options,
    }, flags);
    this.nodes.push(node);
    return node;
  }

  /** Starts the node of a host by its data path. */
  startAs(host: 0 | 1, mode: Mode, kernel: Partial<KernelOptions> = {}): Promise<UdpNode> {
    switch (mode) {
      case "kernel":
        return this.start(host, { kernel: { directory: this.pins(host), ...kernel } });
      case "user":
        return this.start(host);
      case "one-packet":
        return this.start(host, { deviceOffload: false, socketOffload: false });
    }
  }

  /** Starts both nodes. */
  async startBoth(
    options: Partial<NodeOptions> = {},
    flags: readonly string[] = [],
  ): Promise<[UdpNode, UdpNode]> {
    return [await this.start(0, options, flags), await this.start(1, options, flags)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]();
    for (const host of [0, 1] as const) {
      await Deno.remove(this.pins(host), { recursive: true }).catch(() => {}); // Few have any.
    }
    for (const host of [...this.hosts, ...this.routers]) await host[Symbol.asyncDispose]();
  }
}

/** Lines of a stream, without their ends. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
