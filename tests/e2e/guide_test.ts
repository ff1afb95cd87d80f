import { assert, assertEquals, assertMatch } from "@std/assert";
import { LabDocker } from "../lab/docker.ts";
import { Lab } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/lab_etcd.ts";
import { LabUnit } from "../lab/unit.ts";
import { CONFIG, isFullMesh, leaseKeys, PREFIX, subnetEnv, writeSysconfig } from "./guide.ts";

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld carries the guide's nine container pings, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 3 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);

    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd);
      const unit = stack.use(await LabUnit.start(host));
      assertMatch(unit.process.output, /Using interface with name eth1 and address 172\.28\.128\./);
      assertMatch(unit.process.output, /Lease acquired: 10\.20\.\d+\.0\/24/);
    }

    const keys = await leaseKeys(etcd, api);
    assertEquals(keys.length, 3);
    for (const host of lab.hosts) {
      const env = await subnetEnv(host);
      const subnet = env.FLANNEL_SUBNET!;
      assertMatch(subnet, /^10\.20\.\d{1,3}\.1\/24$/);
      assertEquals(
        await host.readTextFile("/run/flannel/subnet.env"),
        `FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=${subnet}\nFLANNEL_MTU=1450\n` +
          `FLANNEL_IPMASQ=false\n`,
      );
      assertEquals(
        await host.readTextFile("/run/flannel/docker"),
        `DOCKER_OPT_BIP="--bip=${subnet}"\nDOCKER_OPT_IPMASQ="--ip-masq=true"\n` +
          `DOCKER_OPT_MTU="--mtu=1450"\n` +
          `DOCKER_NETWORK_OPTIONS=" --bip=${subnet} --ip-masq=true --mtu=1450"\n`,
      );
      const key = subnet.replace(/\.1\/24$/, ".0-24");
      assert(keys.includes(key), `${key} is not among ${keys}`);
      const { address: mac } = JSON.parse(
        await host.exec(["ip", "-j", "link", "show", "flannel.1"]),
      )[0];
      assertEquals(
        await etcd.get(api, `${PREFIX}/subnets/${key}`),
        api === "v2"
          ? `{"PublicIP":"${host.address}","BackendType":"vxlan","BackendData":{"VtepMAC":"${mac}"}}`
          : `{"PublicIP":"${host.address}","PublicIPv6":null,"BackendType":"vxlan",` +
            `"BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`,
      );
    }
    assert(await isFullMesh(lab.hosts));

    const containers = await Promise.all(lab.hosts.map(async (host) => {
      const docker = stack.use(await LabDocker.start(host));
      return await docker.run("shell");
    }));
    for (const [i, from] of containers.entries()) {
      for (const [j, to] of containers.entries()) {
        const address = await to.address();
        assertEquals(
          await from.ping(address),
          1,
          `${lab.hosts[i]!.name} does not reach ${address} on ${lab.hosts[j]!.name}`,
        );
      }
    }
  });
}
