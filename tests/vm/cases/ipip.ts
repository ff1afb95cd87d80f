/**
 * Tests of the ipip backend on a kernel that has the module: `deno task test:vm`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { carrierCases } from "../../../backends/testing/backend_cases.ts";
import { BackendLab, makeLease, prepare } from "../../../backends/testing/backend_lab.ts";
import { ipipBackend } from "../../../backends/ipip/ipip.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { run } from "../../lab/command.ts";

const [OWN, PEER] = ["10.20.1.0/24", "10.20.2.0/24"];

const lease = (subnet: string, publicIP: string) =>
  makeLease(subnet, publicIP, { backendType: "ipip" });

// The module adds its own device, tunl0, to every namespace.
await run(["modprobe", "ipip"]);

carrierCases({ backend: ipipBackend, overhead: 20, lease });

Deno.test("ipip: sync() exchanges packets with flannel's device and route", async () => {
  using _log = captureLog();
  await using lab = await BackendLab.make();
  const [host, other] = lab.hosts;
  // As flannel 0.28 configures a host.
  const commands = [
    `link add flannel.ipip type ipip local ${other.address} remote any`,
    "link set flannel.ipip mtu 1480 up",
    "address add 10.20.2.0/32 dev flannel.ipip",
    `route add ${OWN} via ${host.address} dev flannel.ipip onlink`,
  ];
  for (const command of commands) await other.namespace.ip(...command.split(" "));
  const { network, own } = await prepare(ipipBackend, await host.context({ Type: "ipip" }), OWN!);
  assertEquals(await network.sync(own, new LeaseSet([lease(PEER!, other.address)])), 0);
  for (const size of [56, 1452, 8000]) {
    assertEquals(await host.ping("10.20.2.0", { size }), 1, `${size} bytes`);
    assertEquals(await other.ping("10.20.1.0", { size }), 1, `${size} bytes back`);
  }
  const { sentPackets, sentBytes } = network.status().traffic!().total;
  // 84 and 1,480 bytes, then 8,028 in six fragments, each of them asked and answered.
  assertEquals([sentPackets, sentBytes], [16, 2 * (84 + 1480 + 8028 + 5 * 20)]);
});

Deno.test("ipip: run() reports damage, which sync() repairs", async (t) => {
  using _log = captureLog();
  await using lab = await BackendLab.make();
  const { host } = lab;
  const { network, own } = await prepare(ipipBackend, await host.context({ Type: "ipip" }), OWN!);
  const leases = new LeaseSet([lease(PEER!, "172.28.128.101")]);
  await network.sync(own, leases);
  const state = async () =>
    (await host.state()).map((line) => line.replace(/^link \d+ /, "link ")).sort();
  const whole = await state();
  await using watch = host.watch(network);
  const damage: readonly (readonly [string, string])[] = [
    ["link delete flannel.ipip", "device flannel.ipip removed"],
    ["link set flannel.ipip mtu 1400", "MTU of flannel.ipip altered"],
    ["address flush dev flannel.ipip", "address of flannel.ipip removed"],
    [`route delete ${PEER}`, `route to ${PEER} removed`],
  ];
  for (const [command, report] of damage) {
    await t.step(command, async () => {
      watch.damage.length = 0;
      await host.namespace.ip(...command.split(" "));
      const deadline = performance.now() + 20_000;
      while (!watch.damage.includes(report) && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assertEquals(watch.damage.includes(report), true, `${report} is not in ${watch.damage}`);
      assertEquals(await network.sync(own, leases), 0);
      assertEquals(await state(), whole);
    });
  }
});
