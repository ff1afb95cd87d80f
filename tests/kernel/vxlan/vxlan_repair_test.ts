import { assert, assertEquals } from "@std/assert";
import type { BackendHost } from "../../../backends/testing/backend_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { bridge, ip, macOf, prepareVxlan, test, vxlanLease } from "./vxlan_lab.ts";

/** On-link, and behind a gateway. */
const [NEAR, FAR] = ["172.28.128.101", "172.29.0.7"] as const;

/** Damage to the host, and the report about it. */
const DAMAGE: readonly (readonly [command: string, report: string])[] = [
  ["ip route del 10.20.3.0/24", "route to 10.20.3.0/24 removed"],
  ["ip route replace 10.20.3.0/24 via 172.28.128.9 proto 102", "route to 10.20.3.0/24 altered"],
  ["ip route replace blackhole 10.20.3.0/24 proto 102", "route to 10.20.3.0/24 altered"],
  ["ip route del 10.20.2.0/24", "route to 10.20.2.0/24 removed"],
  [
    "ip neighbour del 10.20.3.0 dev flannel.1",
    "neighbour 10.20.3.0 removed or altered",
  ],
  [
    "ip neighbour replace 10.20.3.0 lladdr 0a:00:00:00:00:66 dev flannel.1 nud permanent",
    "neighbour 10.20.3.0 removed or altered",
  ],
  [
    `ip neighbour replace 10.20.3.0 lladdr ${macOf(FAR)} dev flannel.1 nud stale`,
    "neighbour 10.20.3.0 removed or altered",
  ],
  [
    `bridge fdb del ${macOf(FAR)} dev flannel.1 dst ${FAR}`,
    `FDB entry ${macOf(FAR)} removed`,
  ],
  [
    `bridge fdb replace ${macOf(FAR)} dev flannel.1 dst 172.29.0.99`,
    `FDB entry ${macOf(FAR)} altered`,
  ],
  [
    `bridge fdb append ${macOf(FAR)} dev flannel.1 dst 172.29.0.99`,
    `FDB entry ${macOf(FAR)} altered`,
  ],
  ["ip address del 10.20.1.0/32 dev flannel.1", "address of flannel.1 removed"],
  ["ip link set flannel.1 mtu 1200", "MTU of flannel.1 altered"],
  ["ip link set flannel.1 address 0a:00:00:00:00:55", "MAC of flannel.1 altered"],
  ["ip link set flannel.1 down", "device flannel.1 set down"],
  ["ip link del flannel.1", "device flannel.1 removed"],
];

/** Changes that do not concern flanneld. */
const HARMLESS: readonly string[] = [
  "ip route add 198.51.100.0/24 via 172.28.128.9",
  "ip route add 10.20.7.0/24 via 172.28.128.9",
  "ip route add 10.20.3.0/24 via 172.28.128.9 table 77",
  "ip neighbour add 172.28.128.77 lladdr 0a:00:00:00:00:77 dev eth1 nud permanent",
  "ip address add 192.168.77.1/24 dev flannel.1",
  "ip address del 192.168.77.1/24 dev flannel.1",
  "ip link set lo mtu 60000",
];

async function run(host: BackendHost, command: string): Promise<void> {
  const [program, ...words] = command.split(" ");
  await (program === "ip" ? ip : bridge)(host, words.join(" "));
}

/** Waits until the list has what was looked for. */
async function until(what: () => boolean, describe: () => string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!what()) {
    assert(performance.now() < deadline, describe());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Waits until events that are on their way have come. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 100));
}

/** A recreated device has another index. */
function withoutIndex(state: readonly string[]): string[] {
  return state.map((line) => line.replace(/^link \d+ /, "link "));
}

test("run() reports damage, which sync() repairs", async ({ host, log, step }) => {
  await ip(host, "route add 172.29.0.0/16 via 172.28.128.1");
  const { network, own } = await prepareVxlan(host, { DirectRouting: true });
  const leases = new LeaseSet([
    vxlanLease("10.20.2.0/24", NEAR),
    vxlanLease("10.20.3.0/24", FAR),
  ]);
  await network.sync(own, leases);
  await using watch = host.watch(network);
  const { damage } = watch;
  for (const command of HARMLESS) await run(host, command);
  await quiet();
  assertEquals(damage, []);

  const whole = withoutIndex(await host.state());
  for (const [command, report] of DAMAGE) {
    await step(command, async () => {
      await run(host, command);
      await until(() => damage.includes(report), () => `${report} is not in ${damage}`);
      assertEquals(await network.sync(own, leases), 0);
      assertEquals(withoutIndex(await host.state()), whole);
      // Events of the damage and of the repair itself.
      await quiet();
      damage.length = 0;
    });
  }
  // Our own repairs, and our own changes, are no damage.
  await network.sync(own, leases);
  await network.apply(leases.apply([{ put: vxlanLease("10.20.3.0/24", "172.29.0.8") }]));
  await quiet();
  assertEquals(damage, []);
  assertEquals(log.filter((line) => line.startsWith("W")), []);
});

test("run() reports that the external interface came back, with DirectRouting", async ({ host }) => {
  const { network, own } = await prepareVxlan(host, { DirectRouting: true });
  const leases = new LeaseSet([vxlanLease("10.20.2.0/24", NEAR)]);
  await network.sync(own, leases);
  const whole = await host.state();
  await using watch = host.watch(network);
  const { damage } = watch;
  // The kernel removes an interface's routes with it, without a word.
  await ip(host, "link set eth1 down");
  await network.sync(own, leases);
  assert((await host.state()).length < whole.length);
  await ip(host, "link set eth1 up");
  const report = "eth1 came back, its routes did not";
  await until(() => damage.includes(report), () => `${report} is not in ${damage}`);
  assertEquals(await network.sync(own, leases), 0);
  assertEquals(await host.state(), whole);
});

test("run() reports that events were lost", async ({ host }) => {
  const { network, own } = await prepareVxlan(host);
  await network.sync(own, new LeaseSet());
  await using watch = host.watch(network);
  const { damage } = watch;
  // More than the socket holds while this thread, which reads it, is busy changing routes itself.
  const route = (i: number) => ({
    destination: vxlanLease(`198.18.${(i >> 8) & 255}.${i & 255}/32`, NEAR).subnet,
    ...{ gateway: host.external.address + 1, oif: host.external.index, onlink: false },
    ...{ protocol: 3, scope: 0, table: 254, metric: 0 },
  });
  const routes = Array.from({ length: 40_000 }, (_, i) => route(i));
  for (const op of ["add", "delete"] as const) {
    host.netlink.execute(routes.map((object) => ({ op, kind: "route", object })));
  }
  await until(() => damage.length > 0, () => "nothing was reported");
  assertEquals(damage[0], "kernel events were lost");
});
