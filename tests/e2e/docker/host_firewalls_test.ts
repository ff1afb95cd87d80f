/** Real firewalld and ufw on the guide's hosts: the commands of doctor let the packets through. */
import { assertEquals, assertMatch } from "@std/assert";
import { mergeCommands } from "../../../mod/firewall/mod.ts";
import { type DockerVersion, type LabContainer, LabDocker } from "../../lab/docker.ts";
import { LabFirewalld, startMessageBus } from "../../lab/host_tools/firewalld.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { LabUfw } from "../../lab/host_tools/ufw.ts";
import { FLANNELD, type LabUnit } from "../../lab/unit.ts";
import {
  BACKENDS,
  eventually,
  type GuideBackend,
  standInForDevice,
  subnetOf,
  writeSysconfig,
} from "../guide.ts";
import { blocks } from "../pages.ts";

interface HostTool {
  readonly name: "firewalld" | "ufw";
  /** Starts it with an open TCP port. */
  start(host: UnderlayHost, port: number): Promise<LabFirewalld | LabUfw>;
}

const FIREWALLD: HostTool = {
  name: "firewalld",
  start: (host, port) => LabFirewalld.start(host, port),
};
const UFW: HostTool = { name: "ufw", start: (host, port) => LabUfw.start(host, port) };

const [VXLAN, UDP, HOST_GW] = BACKENDS as [GuideBackend, GuideBackend, GuideBackend];

/** Two hosts of the guide, the first with a firewall, and Docker on both when it is started. */
class Site implements AsyncDisposable {
  containers: LabContainer[] = [];
  units: LabUnit[] = [];
  #firewall?: LabFirewalld | LabUfw;
  readonly #stack = new AsyncDisposableStack();

  private constructor(
    private readonly cluster: GuideCluster,
    private readonly tool: HostTool,
    private readonly backend: GuideBackend,
  ) {
    this.#stack.use(cluster);
  }

  static async start(tool: HostTool, backend: GuideBackend): Promise<Site> {
    const cluster = await GuideCluster.start({ hosts: 2, config: backend.config });
    const site = new Site(cluster, tool, backend);
    site.#stack.use(await startMessageBus(cluster.host));
    return site;
  }

  get host(): UnderlayHost {
    return this.cluster.host;
  }

  /** Runs a command on the host with the firewall. */
  async run(command: string): Promise<void> {
    await this.host.exec(["sh", "-ec", command]);
  }

  /** Starts the firewall; the guide opens etcd's port. */
  async startFirewall(): Promise<void> {
    this.#firewall = this.#stack.use(await this.tool.start(this.host, 2379));
  }

  /** The firewall's own reload. */
  async reload(): Promise<void> {
    await this.#firewall!.reload();
  }

  async startAgents(): Promise<void> {
    this.units = await this.cluster.startAgents();
    await this.#each((host) => standInForDevice(host, this.backend));
  }

  /** Starts the agents again, with other flags. */
  async restartAgents(options: string): Promise<void> {
    for (const unit of this.units) await unit.stop();
    await this.#each((host) => writeSysconfig(host, this.cluster.etcd, { options }));
    this.units = await this.cluster.startAgents();
  }

  /** Lines of the first host's agent that warn of the firewall. */
  get warnings(): string[] {
    return (this.units[0]!.process.output.match(/^W\d{4} .*/gm) ?? [])
      .filter((line) => line.includes(this.tool.name));
  }

  async startDocker(version: DockerVersion): Promise<void> {
    this.containers = await this.#each(async (host) => {
      const docker = this.#stack.use(await LabDocker.start(host, { version }));
      return await docker.run("shell");
    });
  }

  /**
   * Has doctor name the tool, and runs the tool's commands that it prints.
   *
   * @param what the probe that fails, or the packets that rules drop, in doctor's words
   * @returns the commands
   */
  async openAsPrinted(
    what: string,
    verdict: "problem" | "warning" = "problem",
  ): Promise<string[]> {
    const line = verdict === "problem"
      ? `.*${what}.*, which ${this.tool.name} manages, drops it`
      : `${this.tool.name} .* drops ${what}.*`;
    const drops = new RegExp(`^${verdict} +firewall .*\\n(?: +.*\\n)*? +${line}$`, "m");
    const text = await doctor(this.host);
    assertMatch(text, drops);
    // Two checks print the same commands, the one with the hosts to run them on.
    const printed = text.match(/(?<=^ +> )(?:firewall-cmd|ufw) .*$/gm) ?? [];
    const commands = mergeCommands([printed.map((line) => line.replace(/ +# on .*$/, ""))]);
    await this.run(commands.join("\n"));
    return commands;
  }

  /** How many of the pings between the two hosts' containers are answered. */
  async pingsAcross(): Promise<number> {
    const [a, b] = this.containers as [LabContainer, LabContainer];
    const [there, back] = await Promise.all([
      a.ping(await b.address()),
      b.ping(await a.address()),
    ]);
    return there + back;
  }

  /** Gives every host a bridge in its lease with one container, as CNI does: no Docker. */
  async addBridges(): Promise<void> {
    const server = "exec ip netns exec shell busybox httpd -f -p 5000";
    await this.#each(async (host) => {
      const lease = await subnetOf(host);
      const at = (last: number) => lease.replace(/\.0\//, `.${last}/`);
      await host.exec([
        ...["sh", "-ec"],
        `sysctl -qw net.ipv4.ip_forward=1
        ip link add cni0 type bridge
        ip addr add ${at(1)} dev cni0
        ip link set cni0 up
        ip netns add shell
        ip link add port0 type veth peer name eth0 netns shell
        ip link set port0 master cni0 up
        ip -n shell addr add ${at(2)} dev eth0
        ip -n shell link set eth0 up
        ip -n shell route add default via ${at(1).replace(/\/.*/, "")}`,
      ]);
      this.#stack.use(await host.spawn(["sh", "-c", server]));
    });
  }

  /** Whether the other host reaches the first one's container behind its bridge by TCP. */
  async reachesBridged(): Promise<boolean> {
    const [here, there] = this.cluster.hosts as [UnderlayHost, UnderlayHost];
    const address = (await subnetOf(here)).replace(/\.0\/.*/, ".2");
    const connect = `timeout 5 bash -c "</dev/tcp/${address}/5000"`;
    return (await there.run(["bash", "-c", connect])).code === 0;
  }

  /** Hosts and containers reach each other, and doctor finds nothing. */
  async assertOpen(what = "before a reload"): Promise<void> {
    await this.#assertReached(what);
    const text = await doctor(this.host);
    assertMatch(text, /^ok +firewall +packets get through/m);
    assertMatch(text, /^ok +peers +1 of 1/m);
    if (this.containers.length > 0) assertMatch(text, /^0 problems, 0 warnings, 0 not checked$/m);
  }

  /** All is well, and stays so over the firewall's reload. */
  async assertStaysOpen(): Promise<void> {
    await this.#assertReached("before a reload");
    await this.reload();
    await this.assertOpen("after a reload");
  }

  async #assertReached(what: string): Promise<void> {
    await this.cluster.untilFullMesh(what);
    if (this.containers.length > 0) assertEquals(await this.pingsAcross(), 2, what);
  }

  #each<T>(step: (host: UnderlayHost) => Promise<T>): Promise<T[]> {
    return Promise.all(this.cluster.hosts.map(step));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The probe from another host's container to one of this host, as doctor describes it. */
const INBOUND = "to 10\\.20\\.\\d+\\.\\d+, ICMP echo";

const ROOT = new URL("../../..", import.meta.url).pathname.replace(/\/$/, "");

async function doctor(host: UnderlayHost): Promise<string> {
  return (await host.run([FLANNELD, "doctor"])).stdout;
}

/** Commands of the page's blocks, in order, each once, and firewalld's reload last, as doctor prints them. */
function commandsOf(blocks: readonly string[]): string[] {
  return mergeCommands(blocks.map((block) => block.trim().split("\n")));
}

/** Blocks of the page's section on firewalld. */
async function firewalldPage() {
  const [port, policy, zone, hosts] = await blocks("docs/operate/firewalls.md", "firewalld", 4);
  return { port: port!, policy: policy!, zone: zone!, hosts: hosts! };
}

/** Blocks of the page's section on ufw. */
async function ufwPage() {
  const [port, app, route] = await blocks("docs/operate/firewalls.md", "ufw", 3);
  return { port: port!, app: app!, route: route! };
}

/** A warning of the agent about its tunnel's port. */
const closedPort = (name: string, port: number) =>
  new RegExp(`${name} \\(.*drops UDP packets to port ${port} .*; run: (firewall-cmd|ufw) `);

/**
 * The backend decides which packets need an opening, the tool in which commands, and Docker's version whether firewalld
 * accepts them already. These are independent, so pairs suffice: vxlan and host-gw meet both tools, here and below. udp
 * meets ufw alone: its eBPF program takes datagrams before either tool, and its containers' packets need the same
 * opening as vxlan's.
 *
 * The commands that doctor prints are compared with those of docs/operate/firewalls.md, so that the tests run both.
 */
const CASES = [
  { tool: FIREWALLD, backend: VXLAN, version: "testing" },
  { tool: FIREWALLD, backend: HOST_GW, version: "installed" },
  { tool: UFW, backend: HOST_GW, version: "installed" },
] as const;

for (const { tool, backend, version } of CASES) {
  Deno.test(`flanneld doctor opens ${tool.name} for ${backend.type}, without Docker and with it`, async () => {
    await using site = await Site.start(tool, backend);
    await site.startFirewall();
    await site.startAgents();
    const { port, policy, hosts } = await firewalldPage();
    if (backend === VXLAN) {
      assertEquals(site.warnings.length, 1, site.warnings.join("\n"));
      assertMatch(site.warnings[0]!, closedPort(tool.name, 8472));
      assertEquals(await site.openAsPrinted("UDP port 8472"), commandsOf([port]));
    } else {
      assertEquals(site.warnings, []);
    }
    await site.assertOpen();

    await site.startDocker(version);
    if (version === "testing") {
      // Docker 28 has a policy of its own in firewalld, from every zone to zone docker.
      await site.assertOpen();
      await site.reload();
      // Docker puts its bridge back into that zone after a reload.
      await eventually("containers", async () => await site.pingsAcross() === 2, 10_000);
      return await site.assertOpen();
    }
    if (tool === FIREWALLD) {
      // Answers to this host's own container come in.
      assertEquals(await site.pingsAcross(), 1);
      assertEquals(await site.openAsPrinted(INBOUND), commandsOf([policy, hosts]));
    }
    await site.assertStaysOpen();
  });
}

for (
  // Docker 28, too, has no zone and no policy in a firewalld that starts after it.
  const [tool, version] of [[FIREWALLD, "testing"], [UFW, "installed"]] as const
) {
  Deno.test(`flanneld doctor opens ${tool.name} that is started after Docker, for vxlan`, async () => {
    await using site = await Site.start(tool, VXLAN);
    await site.startAgents();
    await site.startDocker(version);
    assertEquals(await site.pingsAcross(), 2);
    await site.startFirewall();
    assertEquals(await site.pingsAcross(), 0);
    const { port, zone, policy } = await firewalldPage();
    assertEquals(
      await site.openAsPrinted("UDP port 8472"),
      commandsOf(tool === FIREWALLD ? [port, zone, policy] : [(await ufwPage()).port]),
    );
    await site.assertStaysOpen();
  });
}

Deno.test("the udp backend needs no port of ufw in the kernel, and doctor opens it for user space", async () => {
  await using site = await Site.start(UFW, UDP);
  await site.startFirewall();
  await site.startAgents();
  await site.addBridges();
  assertEquals(site.warnings, []);
  await site.assertOpen();
  assertEquals(await site.reachesBridged(), true);

  await site.restartAgents("-iface=eth1 -udp-datapath=user");
  assertEquals(site.warnings.length, 1, site.warnings.join("\n"));
  assertMatch(site.warnings[0]!, closedPort("ufw", 8285));
  await site.openAsPrinted("UDP port 8285");
  await site.assertStaysOpen();
});

Deno.test("the packages' service of firewalld opens vxlan's port, and doctor a bridge without Docker", async () => {
  await using site = await Site.start(FIREWALLD, VXLAN);
  // In place of /usr/lib/firewalld/services, which hosts of the lab share with the machine.
  await site.run(`cp ${ROOT}/scripts/firewalld/*.xml /etc/firewalld/services/`);
  await site.startFirewall();
  await site.startAgents();
  assertMatch(
    await site.host.exec(["firewall-cmd", "--permanent", "--info-service=flannel-udp"]),
    /ports: 8285\/udp/,
  );
  const allowed = await site.host.exec(["sh", "-c", "firewall-cmd --list-all-zones"]);
  // A firewalld that cannot express the service refuses it.
  await site.host.exec(["firewall-cmd", "--add-service=flannel-ipip"]);
  assertMatch(
    await site.host.exec(["nft", "list", "chain", "inet", "firewalld", "filter_IN_public_allow"]),
    /l4proto (4|ipencap|ipip|ip).* accept/,
  );
  assertEquals(allowed.includes("flannel"), false, "the files alone open nothing");
  await site.run(
    'firewall-cmd --permanent --add-rich-rule=\'rule family="ipv4" source ' +
      'address="172.28.128.0/24" service name="flannel-vxlan" accept\' && firewall-cmd --reload',
  );
  await site.addBridges();
  assertEquals(await site.reachesBridged(), false);
  await site.openAsPrinted(INBOUND);
  assertEquals(await site.reachesBridged(), true);
  await site.assertStaysOpen();
});

Deno.test("the packages' application of ufw opens vxlan's port, and doctor a ufw that rejects what is routed", async () => {
  await using site = await Site.start(UFW, VXLAN);
  await site.run(`cp ${ROOT}/scripts/ufw/flanneld /etc/ufw/applications.d/`);
  await site.run("ufw default reject routed");
  await site.startFirewall();
  await site.startAgents();
  assertMatch(await site.host.exec(["ufw", "app", "info", "flannel-udp"]), /8285\/udp/);
  const allowed = await site.host.exec(["ufw", "status", "verbose"]);
  assertEquals(/flannel|8472/.test(allowed), false, "the files alone open nothing");
  const { app, route } = await ufwPage();
  await site.run(app);
  await site.addBridges();
  assertEquals(await site.reachesBridged(), false);
  // ufw forwards ICMP echo requests anyway: probes pass, but connections do not.
  const printed = await site.openAsPrinted("forwarded packets of 10.20.0.0/16", "warning");
  assertEquals(printed, commandsOf([route]));
  assertEquals(await site.reachesBridged(), true);
  await site.assertStaysOpen();
});
