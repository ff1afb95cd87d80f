import { Namespace } from "../firewall/firewall_namespace.ts";

/** Addresses of the containers, in their hosts' leases. */
export const CONTAINER_ADDRESSES = ["10.40.1.2", "10.40.2.2"] as const;

/** Creates a container on each host of a lab: a namespace behind a bridge docker0. Turns forwarding on. */
export async function addContainers(
  hosts: readonly Namespace[],
  stack: AsyncDisposableStack,
): Promise<Namespace[]> {
  const containers: Namespace[] = [];
  for (const [i, host] of hosts.entries()) {
    await host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
    const container = stack.use(await Namespace.make());
    containers.push(container);
    const subnet = `10.40.${i + 1}`;
    await batch(host, [
      "link add docker0 type bridge",
      `addr add ${subnet}.1/24 dev docker0`,
      "link set docker0 up",
      `link add veth0 type veth peer name eth0 netns ${container.name}`,
      "link set veth0 master docker0 up",
    ]);
    // dockerd gives its bridge the MTU of subnet.env.
    await batch(container, [
      `addr add ${CONTAINER_ADDRESSES[i]}/24 dev eth0`,
      "link set eth0 mtu 1450 up",
      `route add default via ${subnet}.1`,
    ]);
  }
  return containers;
}

/** Runs lines of `ip` in a host. */
export async function batch(host: Namespace, lines: readonly string[]): Promise<void> {
  for (const line of lines) await host.run("ip", ...line.split(" "));
}
