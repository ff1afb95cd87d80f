import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSION } from "../../../mod/version.ts";
import { otherBuild } from "../../chaos/other_build.ts";
import { type DockerOptions, LabContainer, LabDocker } from "../../lab/docker.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { writeLabRelease } from "../../lab/release.ts";
import { LabSystemd } from "../../lab/systemd.ts";
import { CONFIG, eventually, leaseKeys, PREFIX, subnetOf } from "../guide.ts";
import { blocks } from "../pages.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const IMAGE = `flanneld:${VERSION}`;

const work = await Deno.makeTempDir({ prefix: "flanneld-image-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));
await writeLabRelease(work, { formats: ["oci"] });
await Deno.copyFile(`${ROOT}docs/containers/compose.yaml`, `${work}/compose.yaml`);

/** Writes the image of another version beside this one's. @returns the version */
async function writeOtherImage(): Promise<string> {
  const executable = await otherBuild();
  const { stdout } = await new Deno.Command(executable, { args: ["-version"] }).output();
  const version = new TextDecoder().decode(stdout).trim();
  await writeLabRelease(work, { formats: ["oci"], executable, version });
  return version;
}

/** A host whose agent is in a container, and a container in its network. */
class ContainerHost {
  private constructor(
    readonly host: UnderlayHost,
    readonly systemd: LabSystemd,
    readonly docker: LabDocker,
    readonly container: LabContainer,
  ) {}

  /** Boots a host with dockerd under systemd. */
  static async boot(
    host: UnderlayHost,
    stack: AsyncDisposableStack,
    options: DockerOptions,
  ): Promise<ContainerHost> {
    const systemd = stack.use(await LabSystemd.start(host));
    const docker = stack.use(await LabDocker.start(host, { ...options, systemd }));
    return new ContainerHost(host, systemd, docker, new LabContainer(docker, "shell"));
  }

  /** Runs a block of the page in the directory of the release. */
  run(block: string): Promise<string> {
    return this.systemd.exec(["sh", "-ec", `cd ${work}\n${block}`]);
  }

  /** Runs the block that makes the network. Its container is one that starts with dockerd. */
  async makeNetwork(block: string): Promise<void> {
    const container = "--detach --name shell --restart always --stop-signal KILL busybox:lab";
    await this.run(block.replace("flannel ...", `flannel ${container} tail -f /dev/null`));
  }

  /** Waits until the agent serves, and asserts its version. */
  async untilReady(version = VERSION): Promise<void> {
    await eventually("a lease", async () => / Wrote subnet file to /.test(await this.log()));
    const status = await this.docker.docker(["exec", "flanneld", "flanneld", "status"]);
    assertMatch(status, new RegExp(`^flanneld +${RegExp.escape(version)} on `, "m"));
  }

  /** Returns the log of the agent's container. */
  async log(): Promise<string> {
    const { stdout, stderr } = await this.docker.tryDocker(["logs", "flanneld"]);
    return stdout + stderr;
  }

  /** Returns what Docker gives the agent's container. */
  async granted(): Promise<unknown> {
    const [{ HostConfig, Config, Mounts }] = JSON.parse(
      await this.docker.docker(["inspect", "flanneld"]),
    );
    const { NetworkMode, ReadonlyRootfs, CapAdd, CapDrop, SecurityOpt, Devices } = HostConfig;
    return {
      ...{ NetworkMode, ReadonlyRootfs, CapAdd, CapDrop, SecurityOpt, Devices },
      tmpfs: Object.keys(HostConfig.Tmpfs),
      image: Config.Image,
      variables: Config.Env.map((one: string) => one.split("=")[0]).sort(),
      mounts: Mounts.map(({ Type, Source, Destination, RW }: Record<string, unknown>) =>
        `${Type} ${Source} ${Destination} ${RW}`
      ).sort(),
    };
  }
}

/** Prints what the agent and its image have left. */
const STALE = `
ip -o link | grep flannel
ip route show proto 102
iptables-save | grep -i flannel
find /run/flannel /sys/fs/bpf/flanneld -type f
docker image ls --quiet flanneld
true`;

Deno.test("container.md leads two hosts with two versions of Docker to one network, by unit and by Compose, and away from it again", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  const [load, enable, compose, network] = await blocks(
    "docs/containers/container.md",
    "Run it",
    4,
  ) as [
    string,
    string,
    string,
    string,
  ];
  const [upgrade, rollBack, remove, removeCompose] = await blocks(
    "docs/containers/container.md",
    "Upgrade, roll back, remove",
    4,
  ) as [string, string, string, string];
  const other = await writeOtherImage();
  const unit = await Deno.readTextFile(`${ROOT}docs/containers/flanneld-container.service`);
  const start = async (host: UnderlayHost, options: DockerOptions) => {
    const started = await ContainerHost.boot(host, stack, options);
    assertMatch(await started.run(load), new RegExp(IMAGE));
    await host.writeTextFile(
      "/etc/sysconfig/flanneld",
      `FLANNEL_ETCD_ENDPOINTS=${etcd.endpoint}\nFLANNEL_ETCD_PREFIX=${PREFIX}\n` +
        'FLANNEL_OPTIONS="-iface=eth1 -ip-masq"\n',
    );
    await host.writeTextFile("/etc/systemd/system/flanneld-container.service", unit);
    await started.run(enable);
    await started.untilReady();
    const { code, stderr } = await started.docker.tryDocker([
      ...["run", "--rm", "--entrypoint", "/bin/sh", IMAGE, "-c", "true"],
    ]);
    assert(code !== 0 && /no such file/.test(stderr), stderr);
    await started.makeNetwork(network);
    return started;
  };
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const first = await start(one, { version: "installed" });
  const second = await start(two, { version: "testing", args: ["--live-restore"] });
  const reach = async (count = 3) => {
    const [here, there] = [await first.container.address(), await second.container.address()];
    assertEquals(await first.container.ping(there, { count }), count);
    assertEquals(await second.container.ping(here, { count }), count);
  };

  await reach();
  for (const agent of [first, second]) {
    // The image's own iptables makes the rules of the host.
    assertMatch(
      await agent.host.exec(["iptables", "-t", "nat", "-S"]),
      /-A FLANNEL-POSTRTG .*MASQUERADE/,
    );
    assertEquals((await agent.log()).match(/^[WEF]\d{4} .*/gm), null);
  }
  const subnets = [await subnetOf(one), await subnetOf(two)];

  // No packet is lost while the agent, then dockerd, is restarted on the host with live-restore.
  const address = await second.container.address();
  const during = async (work: () => Promise<unknown>) => {
    const args = ["-i", "0.05"];
    const [received] = await Promise.all([
      first.container.ping(address, { count: 100, args }),
      work(),
    ]);
    assertEquals(received, 100);
  };
  await during(() => second.run(upgrade.replaceAll("0.2.0", other)));
  await second.untilReady(other);
  await during(() => second.run(rollBack));
  await second.untilReady();
  await during(() => second.docker.restart());
  await second.untilReady();
  // Without it dockerd starts the containers again; so it does after a crash, with which systemd restarts the unit.
  await first.docker.restart();
  await first.untilReady();
  await reach();
  const pid = await first.systemd.property("flanneld-container", "MainPID");
  await first.systemd.exec("systemctl kill --kill-whom=main --signal=KILL docker".split(" "));
  await eventually("a restart of the unit", async () => {
    return !["0", pid].includes(await first.systemd.property("flanneld-container", "MainPID"));
  });
  await first.untilReady();
  await reach();
  assertEquals([await subnetOf(one), await subnetOf(two)], subnets);

  // With CAP_BPF and /sys/fs/bpf udp is in the kernel.
  await etcd.set(
    "v3",
    `${PREFIX}/config`,
    '{"Network": "10.20.0.0/16", "Backend": {"Type": "udp"}}',
  );
  for (const { systemd } of [first, second]) {
    await eventually("the programs of udp", async () => {
      const { stdout } = await systemd.run(["ls", "/sys/fs/bpf/flanneld"]);
      return stdout.startsWith("flannel0_");
    });
  }
  await eventually("an answer by udp", async () => {
    return await first.container.ping(await second.container.address()) === 1;
  });

  // Compose takes the unit's place.
  const granted = await first.granted();
  await first.systemd.exec(["systemctl", "disable", "--now", "flanneld-container"]);
  await first.run(compose);
  await first.untilReady();
  assertEquals(await first.granted(), granted);
  await reach();

  for (const [host, block] of [[first, removeCompose], [second, remove]] as const) {
    await host.container.remove();
    await host.run(block);
    assertEquals(await host.systemd.exec(["sh", "-c", STALE]), "");
  }
  assertEquals(await leaseKeys(etcd, "v3"), []);
});
