/** Real firewalld and ufw on the guide's hosts: the commands of doctor let the packets through. */
import { assertEquals, assertMatch } from "@std/assert";
import { type DockerOptions, type LabContainer, LabDocker } from "../../lab/docker.ts";
import { LabFirewalld, startMessageBus } from "../../lab/host_tools/firewalld.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { LabUfw } from "../../lab/host_tools/ufw.ts";
import { FLANNELD, type LabUnit } from "../../lab/unit.ts";
import { BACKENDS, eventually, type GuideBackend, standInForDevice, subnetOf } from "../guide.ts";
import { blocks } from "../pages.ts";

interface HostTool {
  readonly name: "firewalld" | "ufw";
  start(host: UnderlayHost): Promise<LabFirewalld | LabUfw>;
  /** It keeps forwarded packets from Docker's bridge, too. */
  readonly guardsBridge: boolean;
}

const TOOLS: readonly HostTool[] = [
  { name: "firewalld", start: (host) => LabFirewalld.start(host), guardsBridge: true },
  { name: "ufw", start: (host) => LabUfw.start(host), guardsBridge: false },
];

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

  static async start(
    tool: HostTool,
    backend: GuideBackend,
    options = "-iface=eth1",
  ): Promise<Site> {
    const cluster = await GuideCluster.start({ hosts: 2, config: backend.config, options });
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

  async startFirewall(): Promise<void> {
    this.#firewall = this.#stack.use(await this.tool.start(this.host));
    // The guide opens etcd's port.
    await this.#firewall.openPort(2379);
  }

  /** The firewall's own reload. */
  async reload(): Promise<void> {
    await this.#firewall!.reload();
  }

  async startAgents(): Promise<void> {
    this.units = await this.cluster.startAgents();
    await this.#each((host) => standInForDevice(host, this.backend));
  }

  async startDocker(options: DockerOptions = {}): Promise<void> {
    this.containers = await this.#each(async (host) => {
      const docker = this.#stack.use(await LabDocker.start(host, options));
      return await docker.run("shell");
    });
  }

  /**
   * Has doctor name the tool, and runs the tool's commands that it prints.
   *
   * @param what the probe that fails, or the packets that rules drop, in doctor's words
   */
  async openAsPrinted(what: string, verdict: "problem" | "warning" = "problem"): Promise<void> {
    const line = verdict === "problem"
      ? `.*${what}.*, which ${this.tool.name} manages, drops it`
      : `${this.tool.name} .* drops ${what}.*`;
    const drops = new RegExp(`^${verdict} +firewall .*\\n(?: +.*\\n)*? +${line}$`, "m");
    const text = await doctor(this.host);
    assertMatch(text, drops);
    for (const command of text.match(/(?<=^ +> )(?:firewall-cmd|ufw) .*$/gm) ?? []) {
      await this.run(command);
    }
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

  /** All is well, and stays so over the firewall's reload. */
  async assertOpen(): Promise<void> {
    for (const what of ["after the commands", "after a reload"]) {
      if (what === "after a reload") await this.reload();
      await this.cluster.untilFullMesh(what);
      if (this.containers.length > 0) assertEquals(await this.pingsAcross(), 2, what);
    }
    const text = await doctor(this.host);
    assertMatch(text, /^ok +firewall +packets get through/m);
    assertMatch(text, /^ok +peers +1 of 1/m);
    if (this.containers.length > 0) assertMatch(text, /^0 problems, 0 warnings, 0 not checked$/m);
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

for (const tool of TOOLS) {
  const { name, guardsBridge } = tool;
  for (const backend of BACKENDS) {
    // eBPF takes the udp backend's datagrams before the firewall; host-gw has none.
    const hasClosedPort = backend.type === "vxlan";

    Deno.test(`flanneld doctor opens ${name} for ${backend.type}, without Docker and with it`, async () => {
      await using site = await Site.start(tool, backend);
      await site.startFirewall();
      await site.startAgents();
      const warnings = (site.units[0]!.process.output.match(/^W\d{4} .*/gm) ?? [])
        .filter((line) => line.includes(name));
      if (hasClosedPort) {
        assertEquals(warnings.length, 1, warnings.join("\n"));
        assertMatch(
          warnings[0]!,
          new RegExp(`${name} \\(.*drops UDP packets to port 8472 .*; run: (firewall-cmd|ufw) `),
        );
        await site.openAsPrinted("UDP port 8472");
      } else {
        assertEquals(warnings, []);
      }
      await site.assertOpen();

      await site.startDocker();
      if (guardsBridge) {
        // Answers to this host's own container come in.
        assertEquals(await site.pingsAcross(), 1);
        await site.openAsPrinted(INBOUND);
      }
      await site.assertOpen();
    });
  }

  Deno.test(`flanneld doctor opens ${name} that is started after Docker, for vxlan`, async () => {
    await using site = await Site.start(tool, BACKENDS[0]!);
    await site.startAgents();
    // Docker 28, too, has no zone and no policy in a firewalld that starts after it.
    await site.startDocker(guardsBridge ? { version: "testing" } : {});
    assertEquals(await site.pingsAcross(), 2);
    await site.startFirewall();
    assertEquals(await site.pingsAcross(), 0);
    await site.openAsPrinted("UDP port 8472");
    await site.assertOpen();
  });
}

const [VXLAN, UDP] = BACKENDS as [GuideBackend, GuideBackend];

Deno.test("flanneld doctor opens the udp backend's port where user space has to see the datagrams", async () => {
  await using site = await Site.start(TOOLS[1]!, UDP, "-iface=eth1 -udp-datapath=user");
  await site.startFirewall();
  await site.startAgents();
  await site.openAsPrinted("UDP port 8285");
  await site.assertOpen();
});

Deno.test("the packages' service of firewalld opens vxlan's port, and doctor a bridge without Docker", async () => {
  await using site = await Site.start(TOOLS[0]!, VXLAN);
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
  await site.host.exec(["firewall-cmd", "--remove-service=flannel-ipip"]);
  assertEquals(allowed.includes("flannel"), false, "the files alone open nothing");
  await site.run(
    'firewall-cmd --permanent --add-rich-rule=\'rule family="ipv4" source ' +
      'address="172.28.128.0/24" service name="flannel-vxlan" accept\' && firewall-cmd --reload',
  );
  await site.addBridges();
  assertEquals(await site.reachesBridged(), false);
  await site.openAsPrinted(INBOUND);
  assertEquals(await site.reachesBridged(), true);
  await site.assertOpen();
});

Deno.test("the packages' application of ufw opens vxlan's port, and doctor a ufw that rejects what is routed", async () => {
  await using site = await Site.start(TOOLS[1]!, VXLAN);
  await site.run(`cp ${ROOT}/scripts/ufw/flanneld /etc/ufw/applications.d/`);
  await site.run("ufw default reject routed");
  await site.startFirewall();
  await site.startAgents();
  assertMatch(await site.host.exec(["ufw", "app", "info", "flannel-udp"]), /8285\/udp/);
  const allowed = await site.host.exec(["ufw", "status", "verbose"]);
  assertEquals(/flannel|8472/.test(allowed), false, "the files alone open nothing");
  const [, app] = await blocks("docs/operate/firewalls.md", "ufw", 3);
  await site.run(app!);
  await site.addBridges();
  assertEquals(await site.reachesBridged(), false);
  // ufw forwards ICMP echo requests anyway: probes pass, but connections do not.
  await site.openAsPrinted("forwarded packets of 10.20.0.0/16", "warning");
  assertEquals(await site.reachesBridged(), true);
  await site.assertOpen();
});

Deno.test("firewalld with the newest Docker needs only vxlan's port, also over a reload", async () => {
  await using site = await Site.start(TOOLS[0]!, VXLAN);
  await site.startFirewall();
  await site.startAgents();
  await site.openAsPrinted("UDP port 8472");
  await site.startDocker({ version: "testing" });
  // Docker 28 has a policy of its own in firewalld, from every zone to zone docker.
  assertEquals(await site.pingsAcross(), 2);
  assertMatch(await doctor(site.host), /^0 problems, 0 warnings, 0 not checked$/m);
  // Docker puts its bridge back into that zone after a reload.
  await site.reload();
  await eventually("containers", async () => await site.pingsAcross() === 2, 10_000);
  assertMatch(await doctor(site.host), /^0 problems, 0 warnings, 0 not checked$/m);
});

Deno.test("firewalls.md: its commands of firewalld open the tunnel's port and Docker's bridge", async () => {
  await using site = await Site.start(TOOLS[0]!, VXLAN);
  await site.startFirewall();
  await site.startAgents();
  const [port, policy, zone, hosts] = await blocks("docs/operate/firewalls.md", "firewalld", 4);
  await site.run(port!);
  // The zone is missing, since no Docker has made it.
  await site.run(zone!);
  await site.run(policy!);
  await site.startDocker();
  await site.assertOpen();
  await site.run(hosts!);
  await site.assertOpen();
});

Deno.test("firewalls.md: its commands of ufw open the tunnel's port and forwarding", async () => {
  await using site = await Site.start(TOOLS[1]!, VXLAN);
  await site.run("ufw default reject routed");
  await site.startFirewall();
  await site.startAgents();
  const [port, , route] = await blocks("docs/operate/firewalls.md", "ufw", 3);
  await site.run(port!);
  await site.addBridges();
  assertEquals(await site.reachesBridged(), false);
  await site.run(route!);
  assertEquals(await site.reachesBridged(), true);
  await site.assertOpen();
});
