/** Commands of the task pages that need systemd, packages or an etcd of its own. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeCertificates } from "../lab/certificates.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import { writeLabRelease } from "../lab/release.ts";
import { installAgent, type LabSystemd } from "../lab/systemd.ts";
import { VERSION } from "../../mod/version.ts";
import { otherBuild } from "../chaos/other_build.ts";
import {
  CONFIG,
  eventually,
  isFullMesh,
  overlayAddress,
  PREFIX,
  subnetEnv,
  subnetOf,
} from "./guide.ts";
import { blocks, startSystemds } from "./pages.ts";

const NEWER = VERSION.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10));

const MK_DOCKER_OPTS = new URL("../../scripts/mk-docker-opts.sh", import.meta.url).pathname;

/** Runs a block as a login of root would. */
async function run(systemd: LabSystemd, block: string, dir = "/"): Promise<string> {
  return await systemd.exec(["sh", "-ec", `cd ${dir}\n${block}`]);
}

/** Gives a host directories that its commands may write to without touching the machine. */
async function shield(systemd: LabSystemd, ...paths: string[]): Promise<void> {
  for (const path of paths) await systemd.exec(["mount", "-t", "tmpfs", "tmpfs", path]);
}

async function startAgent(systemd: LabSystemd): Promise<void> {
  await systemd.exec(["systemctl", "start", "flanneld"]).catch(async (error) => {
    throw new Error(`${error.message}${await systemd.journal("flanneld")}`);
  });
}

/** Leases in the store, by subnet. */
async function leasesOf(systemd: LabSystemd): Promise<{ subnet: string; publicIP: string }[]> {
  const { leases } = JSON.parse(await systemd.exec(["flanneld", "lease", "list", "-json"]));
  return leases.map(({ subnet, publicIP }: { subnet: string; publicIP: string }) => ({
    subnet,
    publicIP,
  }));
}

/** Returns subnets that nobody has leased. */
async function freeSubnets(systemd: LabSystemd): Promise<string[]> {
  const taken = (await leasesOf(systemd)).map(({ subnet }) => subnet);
  return Array.from({ length: 10 }, (_, i) => `10.20.${i + 1}.0/24`)
    .filter((subnet) => !taken.includes(subnet));
}

async function version(systemd: LabSystemd): Promise<string> {
  return JSON.parse(await systemd.exec(["flanneld", "status", "-json"])).agent.version;
}

Deno.test("install.md and migrate-from-flannel.md: install, roll back and hand over keep the subnet", async (t) => {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 2 }));
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(one));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  const former = `${lab.dir}/release`;
  await writeLabRelease(former, { formats: ["tar", "deb"], bundledLibc: false });
  const executable = await otherBuild();
  const newer = `${lab.dir}/newer`;
  await writeLabRelease(newer, { version: NEWER, executable, formats: ["deb"] });
  const [first, second] = [...(await startSystemds(stack, lab)).values()] as [
    LabSystemd,
    LabSystemd,
  ];
  await shield(first, "/var/cache", "/var/log", "/root");
  const subnets: string[] = [];
  /** Waits for the mesh, with the subnets that the hosts had. */
  const works = async () => {
    await eventually("a full mesh", () => isFullMesh(lab.hosts));
    assertEquals([await subnetOf(one), await subnetOf(two)], subnets);
  };

  await t.step("install.md: apt and the script install, here a newer version", async () => {
    const [apt, script] = await blocks("docs/install.md", "Install", 2) as [string, string];
    await run(first, apt.replaceAll(VERSION, NEWER), newer);
    await run(second, script, former);
    await run(second, `install -m 755 ${executable} /usr/bin/flanneld`);
    for (const [host, systemd] of [[one, first], [two, second]] as const) {
      await host.writeTextFile(
        "/etc/sysconfig/flanneld",
        `FLANNEL_ETCD_ENDPOINTS="${etcd.endpoint}"\nFLANNEL_ETCD_PREFIX="${PREFIX}"\n` +
          'FLANNEL_OPTIONS="-iface=eth1"\n',
      );
      await startAgent(systemd);
      subnets.push(await subnetOf(host));
      assertEquals(await version(systemd), NEWER);
      const plugin = await systemd.exec(["readlink", "/opt/cni/bin/flannel"]);
      assertEquals(plugin.trim(), "/usr/bin/flanneld");
    }
    await works();
  });

  await t.step("install.md: apt and the script roll back to the former version", async () => {
    const [apt, script] = await blocks("docs/install.md", "Roll back", 2) as [string, string];
    // apt asks before it downgrades.
    await run(first, apt.replace("apt install ", "apt install -y "), former);
    await run(second, script, former);
    for (const systemd of [first, second]) {
      await eventually("the former version", async () => await version(systemd) === VERSION);
      const { stdout } = await systemd.run(["flanneld", "doctor"]);
      assertMatch(stdout, /^ok +peers +1 of 1/m);
    }
    await works();
  });

  await t.step("changes.md, configure.md: Docker takes the options of the new range", async () => {
    // In place of Docker's own unit; the package's drop-in reads the options.
    await one.writeTextFile(
      "/etc/systemd/system/docker.service",
      "[Service]\nType=oneshot\nRemainAfterExit=yes\n" +
        "ExecStart=/bin/sh -c 'echo $DOCKER_NETWORK_OPTIONS > /run/docker-started'\n",
    );
    await first.exec(["systemctl", "daemon-reload"]);
    const started = async () => await one.readTextFile("/run/docker-started");
    const { FLANNEL_SUBNET } = await subnetEnv(one);
    const [, byHand] = await blocks("docs/changes.md", "Change the network's range", 2);
    const [hook] = await blocks("docs/configure.md", "Restart Docker when the subnet changes", 1);
    for (const commands of [byHand!, hook!]) {
      await first.exec(["rm", "-f", "/run/docker-started", "/run/flannel/docker"]);
      await one.writeTextFile("/etc/flannel/restart-docker", commands, 0o755);
      await first.exec(
        commands === hook ? ["/etc/flannel/restart-docker"] : ["sh", "-ec", commands],
      );
      assertMatch(await started(), new RegExp(`--bip=${FLANNEL_SUBNET} `));
    }
  });

  await t.step("docker-networks.md: Docker does without the options", async () => {
    const [, mask] = await blocks("docs/containers/docker-networks.md", "Set up", 3);
    await run(first, `${mask}systemctl restart docker`);
    assertEquals((await one.readTextFile("/run/docker-started")).trim(), "");
  });

  await t.step("migrate-from-flannel.md: the steps on each host", async () => {
    const steps = await blocks("docs/migrate-from-flannel.md", "On each host", 4);
    const [stop, install, start, flush] = steps as [string, string, string, string];
    // As CentOS's package of flannel has it.
    await two.writeTextFile(
      "/etc/systemd/system/docker.service",
      "[Service]\nExecStart=/bin/sleep infinity\n",
    );
    await run(second, "systemctl add-requires docker.service flanneld.service");
    await run(second, "systemctl daemon-reload && systemctl start docker");
    await run(second, stop);
    assertEquals(await second.property("flanneld", "ActiveState"), "inactive");
    assertEquals(await second.property("docker", "ActiveState"), "active");
    await run(second, install, former);
    await run(second, start);
    assertEquals(await second.property("flanneld", "UnitFileState"), "enabled");
    await works();
    const route = ["10.20.200.0/24", "via", one.address, "dev", "eth1"];
    await two.exec(["ip", "route", "add", ...route]);
    await run(second, flush);
    assertEquals(
      await two.exec(["ip", "route", "show", "proto", "boot", "root", "10.20.0.0/16"]),
      "",
    );
    await works();
  });

  await t.step("migrate-from-flannel.md: hand over, and remove the rules", async () => {
    const [settings, unit, replace, rules] = await blocks(
      "docs/migrate-from-flannel.md",
      "Back",
      4,
    ) as [string, string, string, string];
    // flannel's tarball, with another build in place of flannel.
    const unpacked = `${lab.dir}/flannel`;
    await Deno.mkdir(unpacked);
    await Deno.copyFile(executable, `${unpacked}/flanneld`);
    await Deno.copyFile(MK_DOCKER_OPTS, `${unpacked}/mk-docker-opts.sh`);
    for (const block of [settings, unit]) await run(first, block, unpacked);
    const start = performance.now();
    const lost = await lostReplies(two, await overlayAddress(one), async () => {
      await run(first, replace, unpacked);
      const seconds = (performance.now() - start) / 1000;
      console.log(`flanneld replaced within ${seconds.toFixed(1)} s`);
    });
    assertEquals(lost, 0);
    assertEquals(
      await first.property("flanneld", "FragmentPath"),
      "/etc/systemd/system/flanneld.service",
    );
    assertEquals(await version(first), NEWER);
    await works();
    await run(first, "systemctl stop flanneld && flanneld cleanup -keep-device");
    assertMatch(await one.exec(["iptables", "-S"]), /FLANNEL-FWD/);
    await run(first, rules);
    assert(!(await one.exec(["iptables", "-S"])).includes("FLANNEL-FWD"));
  });
});

/** The guide's /etc/etcd/etcd.conf, and a unit that reads it, as CentOS's does. */
const ETCD_CONF = `ETCD_DATA_DIR="/var/lib/etcd/default.etcd"
ETCD_LISTEN_CLIENT_URLS="http://172.28.128.100:2379,http://127.0.0.1:2379"
ETCD_ADVERTISE_CLIENT_URLS="http://172.28.128.100:2379"
ETCD_UNSAFE_NO_FSYNC="true"
`;
const ETCD_UNIT = `[Service]
Type=notify
User=etcd
EnvironmentFile=/etc/etcd/etcd.conf
ExecStart=/usr/bin/etcd
`;

Deno.test("backup.md: a snapshot of etcd comes back under running agents, and they follow it", async () => {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  const [one, two, three] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const systemds = [...(await startSystemds(stack, lab)).values()];
  const [first, second, third] = systemds as [LabSystemd, LabSystemd, LabSystemd];
  await shield(first, "/var/backups");
  await one.writeTextFile("/etc/etcd/etcd.conf", ETCD_CONF);
  await one.writeTextFile("/etc/systemd/system/etcd.service", ETCD_UNIT);
  await run(first, "install -d -o etcd -g etcd /var/lib/etcd");
  for (const [i, systemd] of systemds.entries()) {
    await installAgent(systemd);
    await lab.hosts[i]!.writeTextFile(
      "/etc/sysconfig/flanneld",
      'FLANNEL_ETCD_ENDPOINTS="http://172.28.128.100:2379"\n' +
        `FLANNEL_ETCD_PREFIX="${PREFIX}"\nFLANNEL_OPTIONS="-iface=eth1"\n`,
    );
  }
  await run(first, `systemctl start etcd; flanneld config set -etcd-api=v3 -yes '${CONFIG}'`);
  for (const systemd of [first, second]) await startAgent(systemd);

  const [save, restore] = await blocks("docs/operate/backup.md", "etcd v3", 2) as [string, string];
  await run(first, save);
  // Changes after the snapshot: a host, a reservation, and revisions beyond those that come next.
  await startAgent(third);
  const [subnet] = await freeSubnets(first);
  await run(first, `flanneld lease reserve ${subnet} 172.28.128.177`);
  await run(first, "for i in $(seq 60); do ETCDCTL_API=3 etcdctl put /noise $i; done");
  await run(first, restore);

  await eventually("a full mesh", () => isFullMesh(lab.hosts));
  const hosts = lab.hosts.map(({ address }) => address);
  await eventually("each host once", async () => {
    const found = (await leasesOf(first)).map(({ publicIP }) => publicIP).sort();
    return found.join() === hosts.join();
  });

  // From now on changes have revisions that the agents have seen before.
  const gone = await subnetOf(three);
  await third.exec(["systemctl", "stop", "flanneld"]);
  await run(first, `flanneld lease evict -yes ${three.address}`);
  for (const host of [one, two]) {
    await eventually("no route to the dead host", async () => {
      return !(await host.exec(["ip", "route", "show", "proto", "102"])).includes(gone);
    });
  }
});

Deno.test("backup.md: the file of leases comes back as it was saved", async () => {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 2 }));
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const [first, second] = [...(await startSystemds(stack, lab)).values()] as [
    LabSystemd,
    LabSystemd,
  ];
  await shield(first, "/var/backups");
  const [, server, client] = await blocks("docs/without-etcd.md", "Without etcd", 3);
  for (
    const [host, systemd, settings] of [[one, first, server!], [two, second, client!]] as const
  ) {
    await installAgent(systemd);
    await host.writeTextFile("/etc/flannel/remote-token", "0123456789abcdef", 0o600);
    await host.writeTextFile("/etc/sysconfig/flanneld", settings);
    await startAgent(systemd);
  }
  const [former, later] = await freeSubnets(first);
  await run(first, `flanneld lease reserve ${former} 172.28.128.105`);
  const [save, restore] = await blocks(
    "docs/operate/backup.md",
    "A file of leases (`-store=embedded`)",
    2,
  ) as [string, string];
  const saved = await leasesOf(first);
  assertEquals(saved.length, 3);
  await run(first, save);
  await run(first, `flanneld lease release ${former}`);
  await run(first, `flanneld lease reserve ${later} 172.28.128.106`);
  await run(first, restore);
  assertEquals(await leasesOf(first), saved);
  await eventually("a full mesh", () => isFullMesh(lab.hosts));
});

Deno.test("etcd.md: the settings reach three members by TLS, and doctor names a wrong CA", async () => {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  const members = lab.hosts.map(({ address }, i) => ({ name: `etcd${i + 1}`, address }));
  const certificates = await makeCertificates(lab.dir, [], members.map(({ name }) => name));
  const peers = members.map(({ name, address }) => `${name}=http://${address}:2380`).join(",");
  const etcds = await Promise.all(lab.hosts.map((host, i) =>
    host.spawn([
      ...["etcd", "--unsafe-no-fsync", "--log-level=warn", `--name=${members[i]!.name}`],
      `--data-dir=${host.dir}/etcd`,
      `--listen-client-urls=https://${host.address}:2379`,
      `--advertise-client-urls=https://${members[i]!.name}:2379`,
      `--listen-peer-urls=http://${host.address}:2380`,
      `--initial-advertise-peer-urls=http://${host.address}:2380`,
      `--initial-cluster=${peers}`,
      `--cert-file=${certificates.server.cert}`,
      `--key-file=${certificates.server.key}`,
      ...["--client-cert-auth", `--trusted-ca-file=${certificates.ca}`],
    ])
  ));
  const systemds = [...(await startSystemds(stack, lab)).values()];
  const [endpoints] = await blocks("docs/etcd.md", "Several members", 1);
  const [tls, chown] = await blocks("docs/etcd.md", "TLS", 2);
  const files = {
    "ca.pem": certificates.ca,
    "client.pem": certificates.client.cert,
    "client-key.pem": certificates.client.key,
  };
  for (const [i, systemd] of systemds.entries()) {
    const host = lab.hosts[i]!;
    await installAgent(systemd);
    await systemd.exec([
      ...[
        "sh",
        "-c",
        `echo '${members.map((m) => `${m.address} ${m.name}`).join("\n")}' >> /etc/hosts`,
      ],
    ]);
    await host.writeTextFile(
      "/etc/sysconfig/flanneld",
      `${endpoints}FLANNEL_ETCD_PREFIX="${PREFIX}"\nFLANNEL_OPTIONS="-iface=eth1"\n${tls}`,
    );
    for (const [name, path] of Object.entries(files)) {
      await host.writeTextFile(`/etc/flannel/${name}`, await Deno.readTextFile(path));
    }
    // As somebody else copied them, who is not root.
    await run(systemd, "chown nobody: /etc/flannel/*.pem && chmod 600 /etc/flannel/*.pem");
    await run(systemd, chown!);
  }
  await run(systemds[0]!, `flanneld config set -etcd-api=v3 -yes '${CONFIG}'`);
  for (const systemd of systemds) await startAgent(systemd);
  await eventually("a full mesh", () => isFullMesh(lab.hosts));

  await etcds[0]!.stop();
  assertEquals((await leasesOf(systemds[1]!)).length, 3);

  const [last, host] = [systemds[2]!, lab.hosts[2]!];
  await host.writeTextFile("/etc/flannel/ca.pem", await Deno.readTextFile(certificates.otherCa));
  await last.exec(["systemctl", "--no-block", "restart", "flanneld"]);
  const { stdout } = await last.run(["flanneld", "doctor"]);
  assertMatch(stdout, /^problem +store .*certificate/ms);
});
