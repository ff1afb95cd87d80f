import { HostCommands } from "../../../mod/firewall/command.ts";
import type { OverlayPath } from "../../../mod/doctor/trace/flows.ts";
import { localContainers } from "../../../mod/doctor/trace/local_containers.ts";
import { type IPv4, parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import type { Netlink } from "../../../mod/sys/mod.ts";
import { Namespace } from "../firewall/firewall_namespace.ts";

const address = (text: string): IPv4 => parseIPv4(text)!;

/** Addresses of the lab. */
export const ADDRESS = {
  peer: "10.20.65.2",
  container: "10.20.93.2",
  host: "10.20.93.0",
} as const;

/** Counts echo requests, SYNs and datagrams that get to a namespace, and who sent the last of them. */
const COUNTER = `
table ip arrived {
  counter total {}
  set sources { type ipv4_addr; flags dynamic; size 16; }
  chain in {
    type filter hook prerouting priority -500;
    icmp type echo-request counter name total add @sources { ip saddr }
    tcp flags == syn counter name total add @sources { ip saddr }
  }
}`;

/**
 * A host with a container behind docker0, and another host, whose vxlan devices carry the overlay between
 * them: the objects of agents, Docker and a container, made by hand.
 */
export class TraceLab implements AsyncDisposable {
  readonly host: Namespace;
  readonly peer: Namespace;
  readonly container: Namespace;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    stack: AsyncDisposableStack,
    [host, peer, container]: readonly [Namespace, Namespace, Namespace],
  ) {
    this.#stack = stack;
    this.host = host;
    this.peer = peer;
    this.container = container;
  }

  static async make(): Promise<TraceLab> {
    await using stack = new AsyncDisposableStack();
    const make = async () => stack.use(await Namespace.make());
    const [host, peer, container] = [await make(), await make(), await make()] as const;
    const macs = ["02:00:00:00:00:5d", "02:00:00:00:00:41"] as const;
    await host.connect({ device: "eth1", address: "172.28.0.1/24" }, peer, {
      ...{ device: "eth1", address: "172.28.0.2/24" },
    });
    for (
      const [one, own, other, subnet, there] of [
        [host, 1, 2, "93", "65"],
        [peer, 2, 1, "65", "93"],
      ] as const
    ) {
      await one.run(
        "sh",
        "-ec",
        `ip link add flannel.1 address ${
          macs[own - 1]
        } type vxlan id 1 dstport 8472 local 172.28.0.${own} nolearning
        ip address add 10.20.${subnet}.0/32 dev flannel.1
        ip link set flannel.1 up mtu 1450
        ip route add 10.20.${there}.0/24 via 10.20.${there}.0 dev flannel.1 onlink
        ip neighbour add 10.20.${there}.0 lladdr ${macs[other - 1]} dev flannel.1 nud permanent
        bridge fdb add ${macs[other - 1]} dev flannel.1 dst 172.28.0.${other}
        sysctl -qw net.ipv4.ip_forward=1 net/ipv4/conf/flannel.1/rp_filter=0 net.ipv4.conf.all.rp_filter=0`,
      );
    }
    await host.run(
      "sh",
      "-ec",
      `ip link add docker0 type bridge
      ip address add 10.20.93.1/24 dev docker0
      ip link set docker0 up
      ip link add vethc type veth peer name eth0 netns ${container.name}
      ip link set vethc master docker0 up`,
    );
    await container.run(
      "sh",
      "-ec",
      `ip address add ${ADDRESS.container}/24 dev eth0
      ip link set eth0 up
      ip route add default via 10.20.93.1`,
    );
    await peer.run(
      "sh",
      "-ec",
      `ip address add ${ADDRESS.peer}/32 dev lo
      ip route replace 10.20.93.0/24 via 10.20.93.0 dev flannel.1 onlink src ${ADDRESS.peer}`,
    );
    for (const one of [peer, container]) await one.run("nft", COUNTER);
    // A namespace without a process is no container.
    const process = container.spawn("sleep", "600");
    stack.defer(async () => {
      process.kill("SIGKILL");
      await Promise.all([process.stdout.cancel(), process.stderr.cancel(), process.status]);
    });
    return new TraceLab(stack.move(), [host, peer, container]);
  }

  /** Path of the host's network namespace. */
  get netns(): string {
    return `/run/netns/${this.host.name}`;
  }

  /** The host's commands. */
  get commands(): HostCommands {
    return new HostCommands({ commandPrefix: this.host.prefix });
  }

  /** The overlay's path through the host, as the agent's config has it. */
  path(netlink: Netlink): OverlayPath {
    const lease = Prefix.parse("10.20.93.0/24")!;
    const bridge = netlink.link("docker0")!.index;
    const local = localContainers(lease, netlink, bridge).find((one) =>
      one.address === address(ADDRESS.container)
    );
    return {
      ...{ network: Prefix.parse("10.20.0.0/16")!, lease, device: "flannel.1", external: "eth1" },
      peer: { address: address(ADDRESS.peer), publicIP: address("172.28.0.2") },
      tunnel: { port: 8472, headers: 22, publicIP: address("172.28.0.1") },
      ...{ bridge: "docker0", container: address(ADDRESS.container) },
      ...(local === undefined ? {} : { local }),
    };
  }

  /** Runs a script of a shell on the host. */
  async sabotage(script: string): Promise<void> {
    await this.host.run("sh", "-ec", script);
  }

  /**
   * Really sends a packet and waits a second for the answer.
   *
   * @param from `peer`, to the container or an address; `container`, to the peer
   * @param port of TCP, where something listens that only a connection reaches; ICMP when absent
   */
  async send(
    from: "peer" | "container",
    { to, port }: { readonly to?: string; readonly port?: number | undefined } = {},
  ): Promise<{ arrived: boolean; answered: boolean; sources: string[] }> {
    const [sender, receiver] = from === "peer"
      ? [this.peer, this.container]
      : [this.container, this.peer];
    const destination = to ?? (from === "peer" ? ADDRESS.container : ADDRESS.peer);
    await receiver.run("nft", "reset counter ip arrived total; flush set ip arrived sources");
    const answered = port === undefined
      ? await sender.succeeds("busybox", "ping", "-c", "1", "-W", "1", destination)
      : await sender.succeeds("busybox", "nc", "-w", "1", destination, String(port));
    const counter = await receiver.run("nft", "list", "counter", "ip", "arrived", "total");
    const sources = await receiver.run("nft", "list", "set", "ip", "arrived", "sources");
    return {
      ...{ answered, arrived: !/packets 0 /.test(counter) },
      sources: sources.match(/\d+\.\d+\.\d+\.\d+/g) ?? [],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
