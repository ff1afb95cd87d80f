/**
 * One host's udp data paths as a program, for tests and benchmarks, which run it in a network namespace with `ip netns
 * exec`.
 *
 * Its argument is a {@linkcode NodeOptions} as JSON. It brings the device up with iproute2, prints `{"ready": ...}` and
 * answers each line of standard input, a {@linkcode NodeCommand}, with one line. At the end of the input it closes the
 * data paths and exits.
 *
 * @module
 */
import { lines } from "./udp_lab.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { UdpDataPath, type UdpDataPathOptions } from "../../../backends/udp/user/data_path.ts";
import { type Attachment, KernelPath } from "../../../backends/udp/kernel/kernel_path.ts";
import type { PathSettings } from "../../../backends/udp/kernel/programs/layout.ts";
import { Netlink, trimMemory } from "../../../mod/sys/mod.ts";

/** Options of a node. Addresses and prefixes are strings. */
export interface NodeOptions extends Omit<UdpDataPathOptions, "network" | "address" | "subnetLen"> {
  readonly network: string;
  readonly subnetLen?: number;
  readonly address: string;
  /** MTU of the underlay. @default 1500 */
  readonly linkMtu?: number;
  readonly own?: string;
  /** Public IP by subnet. */
  readonly peers?: Readonly<Record<string, string>>;
  /** Carry packets in the kernel, with the user-space path behind it. */
  readonly kernel?: KernelOptions;
}

/** Options of a node's kernel path. */
export interface KernelOptions {
  /** Directory of the pins. */
  readonly directory: string;
  /** Public IPs of the peers that the kernel carries. @default all */
  readonly carried?: readonly string[];
  readonly attachment?: Attachment;
  /** As of {@linkcode KernelPath}. */
  readonly groPauseMs?: number;
}

/** A command to a node. */
export type NodeCommand =
  | { readonly own: string | null }
  | { readonly peers: Readonly<Record<string, string | null>> }
  /** Carry these peers in the kernel from now on. */
  | { readonly carried: readonly string[] }
  /** Reconcile the kernel path. */
  | { readonly sync: true }
  /** Remove the kernel path. */
  | { readonly removeKernel: true }
  | { readonly report: true };

async function main(): Promise<void> {
  const options = JSON.parse(Deno.args[0]!) as NodeOptions;
  // As the agent does.
  using _trimming = trimMemory();
  await using path = await UdpDataPath.open({
    ...options,
    network: Prefix.parse(options.network)!,
    subnetLen: options.subnetLen ?? 24,
    address: parseIPv4(options.address)!,
  });
  path.failed.catch((error) => {
    console.log(JSON.stringify({ failed: error.message }));
    Deno.exit(3);
  });
  const setOwn = (own: string | null) => path.setOwn(own === null ? undefined : Prefix.parse(own));
  const setPeers = (peers: Readonly<Record<string, string | null>>) => {
    for (const [subnet, publicIP] of Object.entries(peers)) {
      if (publicIP === null) path.removePeer(Prefix.parse(subnet)!);
      else path.setPeer(Prefix.parse(subnet)!, parseIPv4(publicIP)!);
    }
  };
  if (options.own !== undefined) {
    setOwn(options.own);
    await configure(path.device, Prefix.parse(options.own)!, options);
  }
  setPeers(options.peers ?? {});
  using kernel = options.kernel && new NodeKernelPath(options, options.kernel, path.device);
  console.log(JSON.stringify({ ready: { device: path.device, offload: path.offload() } }));

  for await (const line of lines(Deno.stdin.readable)) {
    const command = JSON.parse(line) as NodeCommand;
    if ("own" in command) setOwn(command.own);
    else if ("peers" in command) {
      setPeers(command.peers);
      kernel?.setPeers(command.peers);
    } else if ("carried" in command) kernel?.carry(command.carried);
    else if ("sync" in command) kernel?.sync();
    else if ("removeKernel" in command) kernel?.path.remove();
    const { rss } = Deno.memoryUsage();
    console.log(JSON.stringify({
      ...{ counters: path.counters(), traffic: path.traffic(), offload: path.offload() },
      ...{ leases: path.leases, rss },
      ...(kernel && { kernel: kernel.report() }),
    }));
  }
}

/** The kernel path as the backend runs it. */
class NodeKernelPath implements Disposable {
  readonly path: KernelPath;
  readonly #settings: PathSettings;
  readonly #netlink = Netlink.open();
  readonly #peers: Map<string, string>;
  #carried: ReadonlySet<string> | undefined;

  constructor(options: NodeOptions, kernel: KernelOptions, device: string) {
    const underlay = this.#netlink.link("eth1")!;
    this.#settings = {
      device: this.#netlink.link(device)!.index,
      underlay: underlay.index,
      mtu: underlay.mtu,
      address: parseIPv4(options.address)!,
      port: options.port ?? 8285,
      own: Prefix.parse(options.own!)!,
      network: Prefix.parse(options.network)!,
      acceptAny: options.acceptAny ?? false,
      strictSource: options.strictSource ?? false,
    };
    this.path = KernelPath.open({
      netlink: this.#netlink,
      directory: kernel.directory,
      settings: this.#settings,
      device,
      attachment: kernel.attachment,
      groPauseMs: kernel.groPauseMs,
    });
    this.#peers = new Map(Object.entries(options.peers ?? {}));
    this.#carried = kernel.carried && new Set(kernel.carried);
    this.sync();
  }

  setPeers(peers: Readonly<Record<string, string | null>>): void {
    for (const [subnet, publicIP] of Object.entries(peers)) {
      if (publicIP === null) {
        this.#peers.delete(subnet);
        this.path.removeRoute(Prefix.parse(subnet)!);
      } else {
        this.#peers.set(subnet, publicIP);
        this.path.setRoute(this.#route(subnet, publicIP));
      }
    }
  }

  carry(carried: readonly string[]): void {
    this.#carried = new Set(carried);
    for (const [subnet, publicIP] of this.#peers) this.path.setRoute(this.#route(subnet, publicIP));
  }

  sync(): void {
    this.path.sync(this.#settings, [...this.#peers].map((peer) => this.#route(...peer)));
  }

  report() {
    return {
      attachment: this.path.attachment,
      damage: this.path.damage() ?? null,
      groPath: this.path.groPath instanceof Error
        ? this.path.groPath.message
        : this.path.groPath ?? null,
      drops: this.path.drops(),
      traffic: this.path.traffic(),
    };
  }

  [Symbol.dispose](): void {
    this.path[Symbol.dispose]();
    this.#netlink[Symbol.dispose]();
  }

  #route(subnet: string, publicIP: string) {
    return {
      subnet: Prefix.parse(subnet)!,
      publicIP: parseIPv4(publicIP)!,
      carried: this.#carried?.has(publicIP) ?? true,
      accepted: true,
    };
  }
}

/** Configures the device as the backend does: address, MTU, up, route. */
async function configure(device: string, own: Prefix, options: NodeOptions): Promise<void> {
  const mtu = (options.linkMtu ?? 1500) - UdpDataPath.OVERHEAD;
  const base = own.toString().replace(/\/.*/, "");
  const commands = [
    ["addr", "replace", `${base}/32`, "dev", device],
    ["link", "set", device, "mtu", String(mtu), "up"],
    ["route", "replace", options.network, "dev", device, "src", base],
  ];
  for (const args of commands) {
    const { success, stderr } = await new Deno.Command("ip", { args }).output();
    if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}

await main();
