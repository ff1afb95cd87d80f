import { assertEquals } from "@std/assert";
import { open, test } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";

test("Firewall lets packets pass a FORWARD that drops and masquerades at the edge", async (host) => {
  // container --- host --- peer: another host's container, as if through the overlay
  //                  \---- outside: not of the network
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
  const pings: [string, Namespace, Namespace, string][] = [
    ["container to peer", container, peer, "10.20.7.2"],
    ["peer to container", peer, container, "10.20.93.2"],
    ["container to outside", container, outside, "192.0.2.2"],
    ["outside to container", outside, container, "10.20.93.2"],
    ["outside to peer", outside, peer, "10.20.7.2"],
    ["host to peer", host, peer, "10.20.7.2"],
  ];
  const sources = async () =>
    Object.fromEntries(
      await Promise.all(pings.map(async ([name, from, to, address], i) => [
        name,
        await sourceSeen(from, to, address, 100 + i),
      ])),
    );

  const dropped = await sources();
  assertEquals(dropped, {
    // Docker's own rule accepts what leaves docker0, but no reply comes back.
    "container to peer": "10.20.93.2, unanswered",
    "peer to container": "nothing",
    "container to outside": "10.20.93.2, unanswered",
    "outside to container": "nothing",
    "outside to peer": "nothing",
    "host to peer": "10.20.7.1",
  });

  const forward = await open(host, { ipMasq: false });
  await forward.ensure();
  assertEquals(await sources(), {
    "container to peer": "10.20.93.2",
    "peer to container": "10.20.7.2",
    "container to outside": "10.20.93.2",
    "outside to container": "192.0.2.2",
    "outside to peer": "192.0.2.2",
    "host to peer": "10.20.7.1",
  });

  const masquerade = await open(host);
  await masquerade.ensure();
  assertEquals(await sources(), {
    "container to peer": "10.20.93.2",
    "peer to container": "10.20.7.2",
    "container to outside": "192.0.2.1",
    "outside to container": "192.0.2.2",
    "outside to peer": "10.20.7.1",
    "host to peer": "10.20.7.1",
  });

  await masquerade.remove();
  assertEquals(await sources(), dropped);
});

/**
 * Pings once; tells the source address that the target saw, and whether the reply came back.
 *
 * @param size of the payload in bytes; tells pings that run at the same time apart
 */
async function sourceSeen(
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
  // What was answered was seen, and tcpdump ends by itself; else a second has gone by in vain.
  const timer = setTimeout(() => tcpdump.kill("SIGINT"), answered ? 5_000 : 0);
  const output = await new Response(tcpdump.stdout).text();
  await tcpdump.status;
  clearTimeout(timer);
  await drained;
  const source = /IP (\d+\.\d+\.\d+\.\d+) >/.exec(output)?.[1];
  if (source === undefined) return "nothing";
  return answered ? source : `${source}, unanswered`;
}
