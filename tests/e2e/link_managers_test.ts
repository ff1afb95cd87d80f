/** Real NetworkManager and systemd-networkd beside an agent: doctor names them, its commands and the packages' files keep them away. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { startMessageBus } from "../lab/host_tools/firewalld.ts";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import { LabNetworkManager } from "../lab/host_tools/network_manager.ts";
import { LabNetworkd } from "../lab/host_tools/networkd.ts";
import type { LabProcess } from "../lab/process.ts";
import { FLANNELD } from "../lab/unit.ts";
import { BACKENDS, eventually, overlayAddress, subnetOf } from "./guide.ts";
import { blocks } from "./pages.ts";

const SCRIPTS = new URL("../../scripts", import.meta.url).pathname;

/** The agent repairs its device's addresses. */
const REPAIR = /Repairing: /;

interface Finding {
  readonly id: string;
  readonly verdict: string;
  readonly evidence: readonly string[];
  readonly fix: readonly string[];
}

async function doctor(host: UnderlayHost, id: string): Promise<Finding> {
  const { stdout } = await host.run([FLANNELD, "doctor", "-json"]);
  return (JSON.parse(stdout) as { checks: Finding[] }).checks.find((check) => check.id === id)!;
}

/** Runs a block of the page but its commands to systemd, which does not run in the lab. */
async function runBlock(host: UnderlayHost, block: string): Promise<string> {
  return await host.exec(["sh", "-ec", block.replaceAll(/^systemctl .*$/gm, "")]);
}

/** Asserts that a block of the page has commands of a fix; the others only show the result. */
function assertPrinted(block: string, { fix }: Finding): void {
  const bare = (line: string) => line.replace(/ +#.*$/, "");
  const others = block.trim().split("\n").filter((line) => !fix.map(bare).includes(bare(line)));
  assert(
    others.every((line) => /^(nmcli device status|networkctl list)\b/.test(line)),
    `${others}`,
  );
}

/** Asserts that no repair was necessary since the mark, and that the device has its address. */
async function assertUntouched(host: UnderlayHost, agent: LabProcess, mark: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assertEquals(REPAIR.exec(agent.output.slice(mark)), null, agent.output.slice(mark));
  assertMatch(
    await host.exec(["ip", "addr", "show", "flannel.1"]),
    new RegExp(await overlayAddress(host)),
  );
}

Deno.test("flanneld doctor names NetworkManager, whose file of the packages keeps it off flannel.1", async () => {
  await using cluster = await GuideCluster.start();
  const { host } = cluster;
  await using _bus = await startMessageBus(host);
  await using _manager = await LabNetworkManager.start(host);
  const { process: agent } = await cluster.startAgent(host);
  const state = async () =>
    (await host.exec(["nmcli", "-g", "GENERAL.STATE", "device", "show", "flannel.1"])).trim();
  await eventually("NetworkManager sees flannel.1", async () => /externally/.test(await state()));

  let mark = agent.mark();
  await host.exec(["nmcli", "device", "disconnect", "flannel.1"]);
  await agent.waitFor(REPAIR, { from: mark });
  await eventually("NetworkManager takes it back", async () => /externally/.test(await state()));
  const finding = await doctor(host, "kernel");
  assertEquals([finding.verdict, finding.evidence], ["warning", [
    "NetworkManager manages flannel.1",
  ]]);

  const [flannel, docker] = await blocks("docs/operate/host-tools.md", "NetworkManager", 2) as [
    string,
    string,
  ];
  assertPrinted(flannel, finding);
  assertMatch(await runBlock(host, flannel), /^flannel\.1 /m);
  await eventually("it is unmanaged", async () => /unmanaged/.test(await state()));
  assertEquals((await doctor(host, "kernel")).verdict, "ok");

  // The packages' file, in place of /usr/lib/NetworkManager/conf.d, beside one of the administrator's.
  await host.exec([
    ...["sh", "-ec"],
    `rm /etc/NetworkManager/conf.d/90-flanneld.conf
    printf '[keyfile]\nunmanaged-devices=interface-name:other0\n' > /etc/NetworkManager/conf.d/10-local.conf
    nmcli general reload conf`,
  ]);
  await eventually("it is managed again", async () => /externally/.test(await state()));
  await host.exec([
    ...["sh", "-ec"],
    `cp ${SCRIPTS}/network-manager/90-flanneld.conf /etc/NetworkManager/conf.d/
    nmcli general reload conf`,
  ]);
  await eventually("it is unmanaged again", async () => /unmanaged/.test(await state()));
  mark = agent.mark();
  assert((await host.run(["nmcli", "device", "reapply", "flannel.1"])).code !== 0);
  assert((await host.run(["nmcli", "device", "disconnect", "flannel.1"])).code !== 0);
  await assertUntouched(host, agent, mark);

  const gateway = `${(await subnetOf(host)).replace(".0/", ".1/")}`;
  await host.exec([
    ...["sh", "-ec"],
    `ip link add docker0 type bridge && ip link set docker0 up && ip addr add ${gateway} dev docker0`,
  ]);
  const dockerState = async () =>
    (await host.exec(["nmcli", "-g", "GENERAL.STATE", "device", "show", "docker0"])).trim();
  await eventually("NetworkManager has docker0", async () => /extern/.test(await dockerState()));
  await runBlock(host, docker);
  await eventually("docker0 is unmanaged", async () => /unmanaged/.test(await dockerState()));
  mark = agent.mark();
  await host.exec(["nmcli", "networking", "off"]);
  await assertUntouched(host, agent, mark);
  assertMatch(await host.exec(["ip", "addr", "show", "docker0"]), new RegExp(gateway));
});

Deno.test("flanneld doctor names systemd-networkd, whose file of the packages keeps it off flannel.1", async () => {
  await using cluster = await GuideCluster.start();
  const { host } = cluster;
  await using _bus = await startMessageBus(host);
  const { process: agent } = await cluster.startAgent(host);
  const gateway = `${(await subnetOf(host)).replace(".0/", ".1/")}`;
  // In place of Docker: it gives its bridge an address when it starts.
  const startDocker = () => host.exec(["sh", "-ec", `ip addr replace ${gateway} dev docker0`]);
  await host.exec(["sh", "-ec", "ip link add docker0 type bridge && ip link set docker0 up"]);
  await startDocker();
  await host.writeTextFile(
    "/etc/systemd/network/10-eth.network",
    "[Match]\nName=eth*\n\n[Link]\nUnmanaged=yes\n",
  );
  // A catch-all, as images for containers and clouds have it.
  await host.writeTextFile(
    "/etc/systemd/network/20-all.network",
    "[Match]\nName=*\n\n[Network]\nLinkLocalAddressing=no\n",
  );
  let mark = agent.mark();
  await using networkd = await LabNetworkd.start(host);
  await agent.waitFor(REPAIR, { from: mark });
  await eventually(
    "docker0 has no address",
    async () => !/inet /.test(await host.exec(["ip", "addr", "show", "docker0"])),
  );
  const by = "by /etc/systemd/network/20-all.network";
  const [kernel, docker] = [await doctor(host, "kernel"), await doctor(host, "docker-address")];
  assertEquals(kernel.evidence.at(-1), `systemd-networkd manages flannel.1, ${by}`);
  assertEquals(docker.verdict, "problem");
  assertEquals(docker.evidence, [
    `systemd-networkd manages docker0, ${by}: it removes addresses of others`,
  ]);
  const [flannelFile, dockerFile] = await blocks(
    "docs/operate/host-tools.md",
    "systemd-networkd",
    3,
  );
  assertPrinted(flannelFile!, kernel);
  await runBlock(host, flannelFile!);
  await eventually("flannel.1 is unmanaged", async () => {
    return /^ +\d+ flannel\.1 .* unmanaged$/m.test(await host.exec(["networkctl", "list"]));
  });
  assertPrinted(dockerFile!, docker);
  await runBlock(host, dockerFile!);
  await startDocker();

  for (const what of ["doctor's files", "the packages' file"]) {
    if (what === "the packages' file") {
      await host.exec([
        ...[
          "cp",
          `${SCRIPTS}/networkd/00-flanneld.network`,
          "/etc/systemd/network/00-flanneld.network",
        ],
      ]);
    }
    mark = agent.mark();
    await networkd.restart();
    await assertUntouched(host, agent, mark);
    for (const id of ["kernel", "docker-address"]) {
      assertEquals((await doctor(host, id)).verdict, "ok", `${what}: ${id}`);
    }
  }
});

Deno.test("flanneld doctor names systemd-networkd where it removes routes of host-gw", async () => {
  const { config } = BACKENDS.find(({ type }) => type === "host-gw")!;
  await using cluster = await GuideCluster.start({ hosts: 2, config });
  const { host } = cluster;
  await using _bus = await startMessageBus(host);
  const [unit] = await cluster.startAgents();
  const agent = unit!.process;
  const routes = async () => await host.exec(["ip", "route", "show", "proto", "102"]);
  await eventually("a route", async () => await routes() !== "");
  await host.writeTextFile(
    "/etc/systemd/network/10-eth1.network",
    `[Match]\nName=eth1\n\n[Network]\nAddress=${host.address}/24\nLinkLocalAddressing=no\n`,
  );
  await using networkd = await LabNetworkd.start(host);
  await eventually("a route again", async () => await routes() !== "");

  agent.signal("SIGSTOP");
  await networkd.restart();
  await eventually("no route", async () => await routes() === "");
  const finding = await doctor(host, "kernel");
  agent.signal("SIGCONT");
  assertEquals(finding.verdict, "problem");
  assertMatch(
    finding.evidence.at(-1)!,
    /^systemd-networkd manages eth1, by .*10-eth1\.network: it removes routes at its start$/,
  );
  const [, , routesFile] = await blocks("docs/operate/host-tools.md", "systemd-networkd", 3);
  assertPrinted(routesFile!, finding);
  await runBlock(host, routesFile!);
  await eventually("the agent's route", async () => await routes() !== "");

  agent.signal("SIGSTOP");
  await networkd.restart();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const kept = await routes();
  agent.signal("SIGCONT");
  assertMatch(kept, /^10\.20\./);
});
