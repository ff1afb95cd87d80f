import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  CONFIG,
  eventually,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "../e2e/guide.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import { LabUnit } from "../lab/unit.ts";
import { FlannelHost, macOf, makeDocker0 } from "./flannel_host.ts";

/** Versions of flannel and their stores. */
const FLANNELS = [["0.7.1", "v2"], ["0.20", "v3"]] as const;

/** flannel's; agents choose among the first hundred that are free. */
const SUBNET = "10.20.177.0";

/** The kernel objects of a host's flannel.1, as iproute2 shows them. */
async function objectsOf(host: UnderlayHost): Promise<string> {
  return await host.exec([
    "sh",
    "-c",
    "ip -4 -o addr show dev flannel.1; ip -4 route show dev flannel.1; " +
    "ip -4 neigh show nud all dev flannel.1; bridge fdb show dev flannel.1",
  ]);
}

/** Returns the warnings and errors of a unit. */
function warnings(unit: LabUnit): string[] {
  return unit.process.output.split("\n").filter((line) => /^[WE]\d{4} /.test(line));
}

/** Host100 has etcd. */
async function startLab(
  stack: AsyncDisposableStack,
  api: EtcdApi,
  hosts: number,
): Promise<{ lab: Lab; etcd: LabEtcd }> {
  const lab = stack.use(await Lab.start({ hosts }));
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set(api, `${PREFIX}/config`, CONFIG);
  return { lab, etcd };
}

async function startOurs(
  stack: AsyncDisposableStack,
  host: UnderlayHost,
  etcd: LabEtcd,
  options = "-iface=eth1",
): Promise<LabUnit> {
  await writeSysconfig(host, etcd, { options });
  return stack.use(await LabUnit.start(host));
}

for (const [version, api] of FLANNELS) {
  Deno.test(`flanneld and flannel ${version} reach each other, on etcd ${api}`, async () => {
    await using stack = new AsyncDisposableStack();
    const { lab, etcd } = await startLab(stack, api, 3);
    const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];

    // Before flannel, which comes by the watch, and after it, from the snapshot.
    const units = [await startOurs(stack, first, etcd)];
    const flannel = stack.use(await FlannelHost.start(third, etcd, api, SUBNET));
    units.push(await startOurs(stack, second, etcd));
    await flannel.learn();
    const hosts = [first, second];
    const bases = await Promise.all(hosts.map(overlayAddress));
    const gateways = await Promise.all(hosts.map((host, i) => makeDocker0(host, bases[i]!)));
    const flannelsGateway = await makeDocker0(third, flannel.base);
    const reachable = async () => {
      for (const host of hosts) {
        assertEquals(await host.ping(flannel.base), 1);
        assertEquals(await host.ping(flannelsGateway), 1);
      }
      for (const address of [...bases, ...gateways]) assertEquals(await third.ping(address), 1);
      assertEquals(await first.ping(gateways[1]!), 1);
    };
    await eventually("the peer by the watch", async () => await first.ping(flannel.base) === 1);
    await reachable();

    // A reboot of flannel's host: another MAC, and nothing is left of the old one.
    const former = flannel.mac;
    await flannel.reboot();
    for (const host of hosts) {
      await eventually(
        `${host.name} with the new MAC`,
        async () => (await objectsOf(host)).includes(flannel.mac),
      );
      assert(!(await objectsOf(host)).includes(former));
    }
    await reachable();

    // It stays away, and its lease runs out.
    await flannel.renew(1);
    for (const [i, host] of hosts.entries()) {
      await units[i]!.process.waitFor("Subnet removed: 10.20.177.0/24");
      await eventually(
        `nothing of the peer on ${host.name}`,
        async () => !/10\.20\.177\.|172\.28\.128\.102/.test(await objectsOf(host)),
      );
    }
    assertEquals(await first.ping(gateways[1]!), 1);
    for (const unit of units) assertEquals(warnings(unit), []);
  });

  Deno.test(`flanneld takes flannel ${version}'s place without a lost packet, on etcd ${api}`, async () => {
    await using stack = new AsyncDisposableStack();
    const { lab, etcd } = await startLab(stack, api, 2);
    const [peer, host] = lab.hosts as [UnderlayHost, UnderlayHost];
    const other = await startOurs(stack, peer, etcd);
    const flannel = stack.use(await FlannelHost.start(host, etcd, api, SUBNET));
    await flannel.learn();
    // flannel never removes a peer that left, and 0.7.1 never removes addresses of former leases.
    await flannel.remember("10.20.166.0", "172.28.128.166", "0a:00:00:00:00:66");
    if (api === "v2") await host.exec("ip addr add 10.20.155.0/32 dev flannel.1".split(" "));
    const gateway = await makeDocker0(host, flannel.base);
    const target = await overlayAddress(peer);
    assertEquals(await host.ping(target), 1);
    await eventually("the peer's route", async () => await peer.ping(gateway) === 1);
    const mac = await macOf(host);
    const value = await etcd.get(api, flannel.key);

    let unit: LabUnit | undefined;
    const lost = await Promise.all([
      lostReplies(peer, gateway, async () => {
        await flannel.stop();
        unit = await startOurs(stack, host, etcd);
      }),
      lostReplies(host, target, () => new Promise((resolve) => setTimeout(resolve, 2_000))),
    ]);
    assertEquals(lost, [0, 0]);
    assertEquals(await subnetOf(host), "10.20.177.0/24");
    assertEquals(await macOf(host), mac);
    assertEquals(await etcd.get(api, flannel.key), value);
    assertEquals((await etcd.keys(api, `${PREFIX}/subnets`)).length, 2);

    const objects = await objectsOf(host);
    for (const stale of ["10.20.166.", "172.28.128.166", "10.20.155.", "10.20.0.0/16"]) {
      assert(!objects.includes(stale), `${stale} is left:\n${objects}`);
    }
    const subnet = target.replaceAll(".", "\\.");
    assertMatch(objects, new RegExp(`${subnet}/24 via ${subnet} .*onlink`));
    assertMatch(unit!.process.output, /Found lease \(10\.20\.177\.0\/24\) for current IP/);
    assertEquals(warnings(unit!), []);
    assertEquals(warnings(other), []);
  });

  Deno.test(`flanneld warns when flannel ${version} holds its public IP, on etcd ${api}`, async () => {
    await using stack = new AsyncDisposableStack();
    const { lab, etcd } = await startLab(stack, api, 2);
    const [first, second] = lab.hosts as [UnderlayHost, UnderlayHost];
    // Vagrant's address, the same on all machines.
    const flannel = stack.use(
      await FlannelHost.start(first, etcd, api, SUBNET, {
        ...{ iface: "eth0", publicIP: "10.0.2.15" },
      }),
    );
    const unit = await startOurs(stack, second, etcd, "");
    const lines = warnings(unit).filter((line) => line.includes(SUBNET));
    assertEquals(lines.length, 1, unit.process.output);
    assertMatch(
      lines[0]!,
      new RegExp(
        `lease 10\\.20\\.177\\.0/24 has this host's public IP, but its VTEP MAC is ${flannel.mac}, ` +
          `that of our flannel\\.1 is ${await macOf(second)}; .*-iface or -public-ip`,
      ),
    );
  });
}
