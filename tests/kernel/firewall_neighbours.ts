import { Namespace } from "./firewall_namespace.ts";

/** A container of this host, a container of a peer, and a host outside the network. */
export interface Neighbours {
  readonly container: Namespace;
  readonly peer: Namespace;
  readonly outside: Namespace;
}

/**
 * Connects a host:
 *
 *     container --- host --- peer: another host's container, as if through the overlay
 *                      \---- outside: not of the network
 */
export async function withNeighbours(
  host: Namespace,
  body: (neighbours: Neighbours) => Promise<void>,
): Promise<void> {
  await using container = await Namespace.make();
  await using peer = await Namespace.make();
  await using outside = await Namespace.make();
  for (
    const [namespace, device, gateway, address] of [
      [container, "docker0", "10.20.93.1", "10.20.93.2"],
      [peer, "flannel.1", "10.20.7.1", "10.20.7.2"],
      [outside, "eth1", "192.0.2.1", "192.0.2.2"],
    ] as const
  ) {
    await host.connect({ device, address: `${gateway}/24` }, namespace, {
      device: "eth0",
      address: `${address}/24`,
    });
    await namespace.run("ip", "route", "add", "default", "via", gateway);
  }
  await host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1");
  await body({ container, peer, outside });
}

/**
 * Pings once; returns the source address that the target saw, and whether the reply came back.
 *
 * @param size of the payload in bytes; distinguishes pings that run at the same time
 */
export async function sourceSeen(
  from: Namespace,
  to: Namespace,
  address: string,
  size: number,
): Promise<string> {
  const tcpdump = to.spawn(
    ...["tcpdump", "-n", "-l", "--immediate-mode", "-c", "1", "-i", "eth0"],
    // ip[2:2] is the total length: 20 bytes of IPv4 header and 8 of ICMP besides the payload.
    ...["icmp[icmptype] == icmp-echo and dst host", address, `and ip[2:2] == ${28 + size}`],
  );
  const errors = tcpdump.stderr.getReader();
  const decoder = new TextDecoder();
  for (let said = ""; !said.includes("listening on");) {
    const { value, done } = await errors.read();
    if (done) throw new Error(`tcpdump: ${said}`);
    said += decoder.decode(value);
  }
  const drained = (async () => {
    while (!(await errors.read()).done);
  })();
  const ping = ["busybox", "ping", "-c", "1", "-W", "1", "-s", String(size), address];
  const answered = await from.succeeds(...ping);
  // tcpdump ends by itself after an answered ping. Without an answer ping has waited a second already.
  const timer = setTimeout(() => tcpdump.kill("SIGINT"), answered ? 5_000 : 0);
  const output = await new Response(tcpdump.stdout).text();
  await tcpdump.status;
  clearTimeout(timer);
  await drained;
  const source = /IP (\d+\.\d+\.\d+\.\d+) >/.exec(output)?.[1];
  if (source === undefined) return "nothing";
  return answered ? source : `${source}, unanswered`;
}
