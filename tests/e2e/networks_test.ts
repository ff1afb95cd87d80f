import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../lab/unit.ts";
import { eventually, PREFIX, writeSysconfig } from "./guide.ts";

/** What each network's config says. */
const CONFIGS = {
  blue: '{"Network":"10.71.0.0/16","Backend":{"Type":"vxlan","VNI":1}}',
  green: '{"Network":"10.72.0.0/16","Backend":{"Type":"vxlan","VNI":2}}',
  red: '{"Network":"10.73.0.0/16","Backend":{"Type":"host-gw"}}',
} as const;

type Network = keyof typeof CONFIGS;
const NETWORKS = Object.keys(CONFIGS) as Network[];

/** A network's lease on a host, from its subnet file; `undefined` without one. */
async function subnetOf(host: UnderlayHost, network: string): Promise<string | undefined> {
  try {
    const text = await host.readTextFile(`/run/flannel/networks/${network}.env`);
    return /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(text)?.[1] + ".0";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The subnets of all networks on all hosts. */
function subnets(hosts: readonly UnderlayHost[]): Promise<(string | undefined)[][]> {
  return Promise.all(hosts.map((host) => Promise.all(NETWORKS.map((net) => subnetOf(host, net)))));
}

/** Waits until the hosts reach each other in a network. */
async function connected(hosts: readonly UnderlayHost[], network: Network): Promise<void> {
  await eventually(`pings within ${network}`, async () => {
    const addresses = await Promise.all(hosts.map((host) => subnetOf(host, network)));
    if (addresses.includes(undefined)) return false;
    // host-gw has no device that would have the subnet's address.
    if (network === "red") {
      for (const [i, host] of hosts.entries()) {
        await host.exec(["ip", "addr", "replace", `${addresses[i]}/32`, "dev", "lo"]);
      }
    }
    const [one, other] = hosts;
    return await one!.ping(addresses[1]!, { args: ["-I", addresses[0]!] }) === 1 &&
      await other!.ping(addresses[0]!, { args: ["-I", addresses[1]!] }) === 1;
  }, 20_000);
}

async function devices(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec(["ip", "-o", "link", "show"]);
  return [...text.matchAll(/: (flannel[\w.]+)/g)].map((match) => match[1]!).sort();
}

async function chains(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec(["iptables-save"]);
  return [...text.matchAll(/^:(FLANNEL-\S+)/gm)].map((match) => match[1]!).sort();
}

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld -watch-networks carries networks side by side on etcd ${api}`, async (t) => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    const set = (network: string, config: string) =>
      etcd.set(api, `${PREFIX}/${network}/config`, config);
    for (const network of NETWORKS) await set(network, CONFIGS[network]);
    // Each start waits some seconds for it: on one of the two will do.
    if (api === "v2") await set("broken", '{"Network":"10.74.0.0/16","Backend":{"Type":"nosuch"}}');
    const [here] = lab.hosts as [UnderlayHost, UnderlayHost];
    const units: LabUnit[] = [];
    const start = async (host: UnderlayHost) => {
      const unit = stack.use(await LabUnit.start(host, { wait: false }));
      await unit.ready(60_000);
      return unit;
    };
    const options = "-iface=eth1 -ip-masq -watch-networks -networks=blue,green,red,broken,late";
    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd, { options });
      units.push(await start(host));
    }

    await t.step("pings pass within each", async () => {
      for (const network of NETWORKS) await connected(lab.hosts, network);
      assertEquals(await devices(here), ["flannel.1", "flannel.2"]);
      assertMatch(units[0]!.process.output, /\] blue: Lease acquired: 10\.71\./);
      if (api === "v2") {
        assertMatch(units[0]!.process.output, /\] broken: .*unknown backend type: nosuch/);
      }
      assertEquals(
        await chains(here),
        ["FWD", "POSTRTG"].flatMap((name) => NETWORKS.map((net) => `FLANNEL-${name}-${net}`)),
      );
    });

    await t.step("KILL and restart keep all subnets", async () => {
      const before = await subnets(lab.hosts);
      await units[0]!.kill();
      units[0] = await start(here);
      for (const network of NETWORKS) await connected(lab.hosts, network);
      assertEquals(await subnets(lab.hosts), before);
      assertEquals(/Repairing|Ignoring subnet/.exec(units[0]!.process.output)?.[0], undefined);
    });

    await t.step(
      "one comes, one that is not allowed does not, one goes with its traces",
      async () => {
        await set("late", '{"Network":"10.75.0.0/16","Backend":{"Type":"vxlan","VNI":5}}');
        await set("alien", '{"Network":"10.76.0.0/16","Backend":{"Type":"vxlan","VNI":6}}');
        await units[0]!.process.waitFor(/late: Wrote subnet file/);
        await units[0]!.process.waitFor(/Network "alien" is not allowed/);
        assertEquals(await devices(here), ["flannel.1", "flannel.2", "flannel.5"]);
        await etcd.removeAll(api, `${PREFIX}/green`);
        await units[0]!.process.waitFor(/Network removed: green/);
        await eventually(
          "green's traces are gone",
          async () =>
            !(await devices(here)).includes("flannel.2") &&
            !(await chains(here)).some((name) => name.endsWith("-green")) &&
            await subnetOf(here, "green") === undefined,
        );
        await connected(lab.hosts, "blue");
        await connected(lab.hosts, "red");
      },
    );
  });
}
