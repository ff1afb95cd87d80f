import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import type { EtcdApi } from "../../lab/etcd/lab_etcd.ts";
import type { LabUnit } from "../../lab/unit.ts";
import {
  BACKENDS,
  eventually,
  type GuideBackend,
  leaseKeys,
  standInForDevice,
  subnetEnv,
  subnetOf,
} from "../guide.ts";

/** A change of a host's eth1, and its agent's log line. */
interface Fixture {
  readonly cluster: GuideCluster;
  readonly units: readonly LabUnit[];
  /** The host whose eth1 is meddled with; not the one that etcd runs on. */
  readonly host: UnderlayHost;
  readonly unit: LabUnit;
}

async function started(
  api: EtcdApi,
  backend: GuideBackend,
  test: (fixture: Fixture) => Promise<void>,
): Promise<void> {
  const { config } = backend;
  await using cluster = await GuideCluster.start({ hosts: 3, api, config });
  const units = await cluster.startAgents();
  for (const host of cluster.hosts) await standInForDevice(host, backend);
  await cluster.untilFullMesh();
  await test({ cluster, units, host: cluster.hosts[1]!, unit: units[1]! });
}

async function ip(host: UnderlayHost, ...lines: string[]): Promise<void> {
  for (const line of lines) await host.exec(["ip", ...line.split(" ")]);
}

const APIS: readonly EtcdApi[] = ["v2", "v3"];

for (const backend of BACKENDS) {
  for (const api of backend.type === "vxlan" ? APIS : ["v2"] as const) {
    Deno.test(`flanneld by ${backend.type} follows its interface to another address, on etcd ${api}`, async () => {
      await started(api, backend, async (fixture) => {
        const { cluster, host, unit, units } = fixture;
        const subnet = await subnetOf(host);
        const device = await deviceOf(host, backend);
        const mark = unit.process.mark();
        await ip(
          host,
          "addr add 172.28.128.201/24 dev eth1",
          "addr del 172.28.128.101/24 dev eth1",
          // The kernel takes secondary addresses of a network along with the first one.
          "addr replace 172.28.128.201/24 dev eth1",
        );
        await unit.process.waitFor(
          /The external interface has changed: eth1: address 172\.28\.128\.101 is now 172\.28\.128\.201/,
          { from: mark },
        );
        await unit.process.waitFor(
          /Moving lease \(\S+\) from IP 172\.28\.128\.101 to 172\.28\.128\.201/,
          { from: mark },
        );
        await cluster.untilFullMesh("a full mesh again");

        assertEquals((await cluster.leaseValue(host))?.PublicIP, "172.28.128.201");
        assertEquals(await subnetOf(host), subnet);
        assertEquals((await leaseKeys(cluster.etcd, api)).length, 3);
        await eventually(
          "no record under the address that is no longer there",
          async () =>
            String(await cluster.agentKeys()) === "172.28.128.100,172.28.128.102,172.28.128.201",
        );
        assertEquals((await deviceOf(host, backend))?.address, device?.address);
        if (backend.type === "vxlan") {
          const details = await host.exec(["ip", "-d", "link", "show", "flannel.1"]);
          assertMatch(details, /local 172\.28\.128\.201/);
        }
        for (const other of [units[0]!, units[2]!]) {
          assertMatch(other.process.output, /Subnet changed: \S+ via 172\.28\.128\.201/);
        }
        assert(!unit.process.output.includes("restart Docker"), unit.process.output);
      });
    });
  }

  Deno.test(`flanneld by ${backend.type} comes through a restart of the network`, async (t) => {
    await started("v2", backend, async (fixture) => {
      const { cluster, host, unit } = fixture;
      const { lab } = cluster;
      const before = await subnetEnv(host);
      const address = `addr add ${host.address}/24 broadcast + dev eth1`;
      const restarts: readonly (readonly [name: string, run: () => Promise<void>])[] = [
        ["addresses flushed and back", async () => {
          await ip(host, "addr flush dev eth1");
          await unit.process.waitFor(/interface eth1 has no IPv4 address; waiting for it/);
          await ip(host, address);
        }],
        ["down, flushed, up again", async () => {
          await ip(host, "addr flush dev eth1", "link set eth1 down");
          await ip(host, "link set eth1 up", address);
        }],
        ["another device of the same name, after a while", async () => {
          await lab.removeInterface(host);
          await unit.process.waitFor(/interface eth1 is gone; waiting for it/);
          await lab.addInterface(host);
          await ip(host, address);
        }],
        ["another device of the same name, at once", async () => {
          await lab.removeInterface(host);
          await lab.addInterface(host);
          await ip(host, address);
        }],
      ];
      for (const [name, run] of restarts) {
        await t.step(name, async () => {
          const mark = unit.process.mark();
          await run();
          await cluster.untilFullMesh("a full mesh again");
          assertEquals(await subnetEnv(host), before);
          const said = unit.process.output.slice(mark);
          assert(!/\b(ENODEV|EINVAL|ENETUNREACH|EHOSTUNREACH)\b/.test(said), said);
        });
      }
      assertEquals((await cluster.leaseValue(host))?.PublicIP, host.address);
      assertMatch(
        unit.process.output,
        /The external interface has changed: eth1: index \d+ is now/,
      );
    });
  });

  Deno.test(`flanneld by ${backend.type} follows its interface's MTU`, async () => {
    await started("v2", backend, async ({ cluster, host, unit }) => {
      const { FLANNEL_SUBNET } = await subnetEnv(host);
      await ip(host, "link set eth1 mtu 1400");
      const mtu = backend.mtu - 100;
      await unit.process.waitFor(
        new RegExp(`MTU changed from ${backend.mtu} to ${mtu}: restart Docker`),
      );
      const env = await subnetEnv(host);
      assertEquals([env.FLANNEL_MTU, env.FLANNEL_SUBNET], [String(mtu), FLANNEL_SUBNET]);
      assertEquals((await deviceOf(host, backend))?.mtu, backend.device && mtu);
      await cluster.untilFullMesh("a full mesh again");
    });
  });
}

interface IpLink {
  readonly address?: string;
  readonly mtu: number;
}

/** A backend's device; `undefined` when it has none. */
async function deviceOf(
  host: UnderlayHost,
  { device }: GuideBackend,
): Promise<IpLink | undefined> {
  if (device === undefined) return undefined;
  const [link] = JSON.parse(await host.exec(["ip", "-j", "link", "show", device]));
  return link;
}
