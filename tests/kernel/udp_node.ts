/**
 * One host's udp data path as a program, for the tests and the bench: they run it in a network
 * namespace of its own, with `ip netns exec`.
 *
 * Its argument is a {@linkcode NodeOptions} as JSON. It brings the device up with iproute2, prints
 * `{"ready": ...}` and then answers each line of standard input, a {@linkcode NodeCommand}, with one
 * line. At the end of the input it closes the data path and leaves.
 *
 * @module
 */
import { lines } from "./udp_lab.ts";
import { parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import { UdpDataPath, type UdpDataPathOptions } from "../../backends/udp/data_path.ts";

/** How the node is set up. Addresses and prefixes are texts. */
export interface NodeOptions extends Omit<UdpDataPathOptions, "network" | "address" | "subnetLen"> {
  readonly network: string;
  readonly subnetLen?: number;
  readonly address: string;
  /** Of the underlay. @default 1500 */
  readonly linkMtu?: number;
  readonly own?: string;
  /** Public IP by subnet. */
  readonly peers?: Readonly<Record<string, string>>;
}

/** What a node can be asked. */
export type NodeCommand =
  | { readonly own: string | null }
  | { readonly peers: Readonly<Record<string, string | null>> }
  | { readonly report: true };

async function main(): Promise<void> {
  const options = JSON.parse(Deno.args[0]!) as NodeOptions;
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
  console.log(JSON.stringify({ ready: { device: path.device, offload: path.offload() } }));

  for await (const line of lines(Deno.stdin.readable)) {
    const command = JSON.parse(line) as NodeCommand;
    if ("own" in command) setOwn(command.own);
    else if ("peers" in command) setPeers(command.peers);
    const { rss } = Deno.memoryUsage();
    console.log(JSON.stringify({
      ...{ counters: path.counters(), traffic: path.traffic(), offload: path.offload() },
      ...{ leases: path.leases, rss },
    }));
  }
}

/** What the backend does with rtnetlink: address, MTU, up, route. */
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
