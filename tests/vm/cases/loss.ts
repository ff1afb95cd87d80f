/**
 * Data paths over a bad wire, on a kernel that has netem: `deno task test:vm`.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import type { Backend } from "../../../backends/backend.ts";
import { hostGwBackend } from "../../../backends/host_gw/host_gw.ts";
import { ipipBackend } from "../../../backends/ipip/ipip.ts";
import { type BackendHost, BackendLab, prepare } from "../../../backends/testing/backend_lab.ts";
import { vxlanBackend } from "../../../backends/vxlan/vxlan.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { type Place, transfer } from "../../kernel/udp/udp_exchange.ts";
import { DEVICE_ADDRESSES, MODES, UdpLab } from "../../kernel/udp/udp_lab.ts";
import { BACKENDS, PREFIX } from "../../e2e/guide.ts";
import { run } from "../../lab/command.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";

/** Of each host, for what it sends; a quarter of the packets overtake others. */
const NETEM = "tc qdisc add dev eth1 root netem loss 5% delay 20ms reorder 25% gap 5".split(" ");

const SUBNETS = ["10.20.1.0/24", "10.20.2.0/24"] as const;

await run(["modprobe", "-a", "sch_netem", "ipip"]);

for (const mode of MODES) {
  Deno.test(`udp (${mode}): TCP arrives whole over 5 % loss, reordering and 20 ms each way`, async () => {
    await using lab = await UdpLab.make();
    const [here, there] = lab.hosts;
    for (const host of [0, 1] as const) {
      await lab.startAs(host, mode);
      await lab.hosts[host].run(...NETEM);
    }
    await transfer(here, there, DEVICE_ADDRESSES[1], 1);
    assertMatch(await here.run("tc", "-s", "qdisc", "show", "dev", "eth1"), /dropped [1-9]/);
  });
}

for (const backend of [vxlanBackend, hostGwBackend, ipipBackend] as Backend[]) {
  Deno.test(`${backend.type}: TCP arrives whole over 5 % loss, reordering and 20 ms each way`, async () => {
    using _log = captureLog();
    await using lab = await BackendLab.make();
    const nodes = await Promise.all(lab.hosts.map(async (host, i) => {
      await host.namespace.exec(...NETEM);
      return await prepare(backend, await host.context({ Type: backend.type }), SUBNETS[i]!);
    }));
    for (const [i, { network, own }] of nodes.entries()) {
      assertEquals(await network.sync(own, new LeaseSet(nodes.map((node) => node.own))), 0);
      // In place of a container's.
      await lab.hosts[i]!.namespace.ip(...`address add 10.20.${i + 1}.1/24 dev lo`.split(" "));
    }
    const [here, there] = lab.hosts.map(placeOf) as [Place, Place];
    await transfer(here, there, "10.20.2.1", 1);
    assertMatch(await here.run("tc", "-s", "qdisc", "show", "dev", "eth1"), /dropped [1-9]/);
    for (const { network } of nodes) await network.remove();
  });
}

for (const { type, config } of BACKENDS.filter(({ type }) => type !== "host-gw")) {
  Deno.test(`${type}: agents and etcd keep the mesh over 5 % loss, reordering and 20 ms each way`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 3, api: "v3", config });
    for (const host of cluster.hosts) await host.exec(NETEM);
    const units = await cluster.startAgents();
    await cluster.untilFullMesh();
    // Another host's lease, which comes and goes.
    const { BackendData, ...value } = (await cluster.leaseValue(cluster.host))!;
    const lease = {
      ...{ ...value, PublicIP: "172.28.128.199" },
      ...BackendData === undefined ? {} : { BackendData: { VtepMAC: "02:00:00:00:00:63" } },
    };
    const key = `${PREFIX}/subnets/10.20.199.0-24`;
    await cluster.etcd.set("v3", key, JSON.stringify(lease));
    for (const { process } of units) await process.waitFor(/Subnet added: 10\.20\.199\.0\/24/);
    await cluster.etcd.ctl("v3", ["del", key]);
    for (const { process } of units) await process.waitFor(/Subnet removed: 10\.20\.199\.0\/24/);
    await cluster.untilFullMesh();
  });
}

function placeOf({ namespace }: BackendHost): Place {
  return {
    run: (...command) => namespace.exec(...command),
    spawn: (...command) =>
      new Deno.Command("ip", {
        args: ["netns", "exec", namespace.name, ...command],
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
  };
}
