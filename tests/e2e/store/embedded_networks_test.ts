import { assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import type { LabProcess } from "../../lab/process.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { eventually } from "../guide.ts";

const STORE = "-store=embedded";

/** Config and device of each network. */
const NETWORKS = {
  blue: ['{"Network":"10.71.0.0/16","Backend":{"Type":"vxlan","VNI":1}}', "flannel.1"],
  green: ['{"Network":"10.72.0.0/16","Backend":{"Type":"udp"}}', "flannel0"],
  late: ['{"Network":"10.73.0.0/16","Backend":{"Type":"vxlan","VNI":3}}', "flannel.3"],
} as const;

type Network = keyof typeof NETWORKS;

/** A network's address on a host: the first of its lease, which the backend's device has. */
async function addressOf(host: UnderlayHost, network: Network): Promise<string | undefined> {
  try {
    const text = await host.readTextFile(`/run/flannel/networks/${network}.env`);
    return /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(text)![1] + ".0";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function addresses(hosts: readonly UnderlayHost[], networks: readonly Network[]) {
  return Promise.all(
    networks.map((network) => Promise.all(hosts.map((host) => addressOf(host, network)))),
  );
}

/** True when both hosts reach each other in each of the networks. */
async function isConnected([here, there]: readonly UnderlayHost[], networks: readonly Network[]) {
  for (const [of1, of2] of await addresses([here!, there!], networks)) {
    if (of1 === undefined || of2 === undefined) return false;
    if (await here!.ping(of2) !== 1 || await there!.ping(of1) !== 1) return false;
  }
  return true;
}

async function devices(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec(["ip", "-o", "link", "show"]);
  return [...text.matchAll(/: (flannel[\d.]+):/g)].map((match) => match[1]!).sort();
}

function setConfig(host: UnderlayHost, network: Network): Promise<string> {
  const line = [FLANNELD, "config", "set", "-yes", STORE, `-networks=${network}`];
  return host.exec([...line, NETWORKS[network][0]]);
}

Deno.test("flanneld carries two networks of one file to a host that is served them by -remote", async (t) => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
  const server = `${here.address}:8888`;
  const common = ["-iface=eth1", "-watch-networks", "-udp-datapath=kernel"];
  const token = "-remote-token-file=/etc/flannel/remote-token";
  for (const host of lab.hosts) {
    await host.writeTextFile("/etc/flannel/remote-token", "0123456789abcdef", 0o600);
  }
  const own = [...common, STORE];
  const remote = [...common, `-remote=${server}`, token];
  const start = async (host: UnderlayHost, ...flags: string[]): Promise<LabProcess> =>
    stack.use(await host.spawn([FLANNELD, ...flags]));
  const both: readonly Network[] = ["blue", "green"];
  for (const network of both) await setConfig(here, network);
  let agent = await start(here, ...own, `-listen=${server}`, token);
  const client = await start(there, ...remote);

  await t.step("pings pass within each, both ways", async () => {
    await eventually("pings in both", () => isConnected(lab.hosts, both), 30_000);
    for (const host of lab.hosts) assertEquals(await devices(host), ["flannel.1", "flannel0"]);
  });

  await t.step("commands read the file beside the agent, of all networks", async () => {
    for (const [host, flags] of [[here, own], [there, remote]] as const) {
      const plan = await host.run([FLANNELD, "plan", "-detailed-exitcode", ...flags]);
      assertEquals(plan.code, 0, plan.stdout + plan.stderr);
      assertMatch(plan.stdout, /^network blue:\n[^]*^network green:\n[^]*^nothing would change$/m);
      const doctor = await host.run([FLANNELD, "doctor", "-json", ...flags]);
      const { checks } = JSON.parse(doctor.stdout) as {
        checks: { network?: string; id: string; verdict: string }[];
      };
      assertEquals(
        checks.filter(({ id }) => id === "lease").map(({ network, verdict }) => [network, verdict]),
        [["blue", "ok"], ["green", "ok"]],
      );
    }
    const peer = (await addressOf(there, "green"))!;
    const explain = await here.run([FLANNELD, "explain", ...own, peer]);
    assertMatch(explain.stdout, new RegExp(`^${peer} is the address of host101|^${peer} is in`));
    const list = await there.exec([
      FLANNELD,
      "lease",
      "list",
      `-remote=${server}`,
      token,
      "-networks=blue",
    ]);
    assertEquals(list.trim().split("\n").length, 3);
  });

  await t.step(
    "KILL of the server's agent stops no packet, and the client reports it once",
    async () => {
      const before = await addresses(lab.hosts, both);
      await agent.kill();
      await client.waitFor(/Watch networks: the server of -remote cannot be reached/);
      await client.waitFor(/blue: Watch subnets: the server of -remote cannot be reached/);
      assertEquals(await isConnected(lab.hosts, both), true);
      // The file needs no agent to be written.
      await setConfig(here, "late");

      agent = await start(here, ...own, `-listen=${server}`, token);
      await client.waitFor(/late: Wrote subnet file/);
      await eventually("pings in all", () => isConnected(lab.hosts, [...both, "late"]), 30_000);
      assertEquals(await addresses(lab.hosts, both), before);
      for (const { output } of [agent, client]) {
        assertEquals(/Repairing|Ignoring subnet|Network removed/.exec(output)?.[0], undefined);
      }
      for (const line of [/Watch networks: the server/g, /Watch networks: connected again/g]) {
        assertEquals(client.output.match(line)?.length, 1, client.output);
      }
    },
  );

  await t.step("one whose config is deleted goes on both, with its device", async () => {
    const line = [FLANNELD, "config", "delete", "-yes", `-remote=${server}`, "-networks=green"];
    assertEquals((await there.run([...line, "-remote-token-file="])).code, 1);
    assertMatch(
      await there.exec([...line, token]),
      /^Hosts with a lease \(2\): those with -watch-networks remove the network's device, [^]* packets stop/m,
    );
    for (const host of lab.hosts) {
      await eventually(
        "green's device is gone",
        async () => (await devices(host)).join() === "flannel.1,flannel.3",
      );
    }
    assertEquals(await isConnected(lab.hosts, ["blue", "late"]), true);
  });

  await t.step("cleanup -release gives the client's leases back to the server's file", async () => {
    await client.stop();
    const { code, stdout, stderr } = await there.run([FLANNELD, "cleanup", "-release", ...remote]);
    assertEquals(code, 0, stdout + stderr);
    assertMatch(stdout, /^removed lease 10\.71\.[^]*^removed lease 10\.73\./m);
    assertEquals(await devices(there), []);
    for (const network of ["blue", "late"] as const) {
      const list = [FLANNELD, "lease", "list", "-json", STORE, `-networks=${network}`];
      const { leases } = JSON.parse(await here.exec(list)) as { leases: { publicIP: string }[] };
      assertEquals(leases.map(({ publicIP }) => publicIP), [here.address]);
    }
  });
});

Deno.test("flanneld -networks is ready beside a network without a config, and explains how to write one", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await setConfig(host, "blue");
  const flags = ["-iface=eth1", STORE, "-healthz-port=8286", "-networks=blue,green"];
  await using agent = await host.spawn([FLANNELD, ...flags]);
  await agent.waitFor(/blue: Wrote subnet file/);
  const [line] = await agent.waitFor(/green: failed to retrieve network config: .*/);
  const command = /flanneld (config set -store=embedded=\S+ -networks=green) '(.*)'$/.exec(line)!;
  const get = (path: string) =>
    host.run(["busybox", "wget", "-q", "-O", "-", `http://127.0.0.1:8286${path}`]);
  assertEquals((await get("/readyz")).stdout, "flanneld is ready\n");
  const warned = await host.run([FLANNELD, "status"]);
  assertEquals(warned.code, 1);
  assertMatch(warned.stdout, /^health +ready, with warnings$/m);

  // The remedy in the line.
  await host.exec([FLANNELD, ...command[1]!.split(" "), "-yes", command[2]!]);
  await agent.waitFor(/green: Wrote subnet file/);
  assertMatch(await host.exec([FLANNELD, "status"]), /^health +ok, ready$/m);
});

Deno.test("flanneld -watch-networks reports that there is no network, and serves a new one", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await using agent = await host.spawn([FLANNELD, "-iface=eth1", STORE, "-watch-networks"]);
  const [line] = await agent.waitFor(/there is no network in .*/);
  assertMatch(line, /leases\.db yet; .*flanneld config set -networks=blue '/);
  await setConfig(host, "blue");
  await agent.waitFor(/blue: Wrote subnet file/);
});
