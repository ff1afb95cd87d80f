/** Claims of SECURITY.md: sockets of an agent on its host, its files' modes, its password. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { BACKENDS, eventually } from "../guide.ts";

const STATUS_SOCKET = "/run/flannel/flanneld.sock";
const PASSWORD = "kV7-not-for-the-log";

/** UDP ports of each backend with the guide's config: the tunnel's, and of udp the GRO device's. */
const TUNNEL_PORTS: Readonly<Record<string, readonly string[]>> = {
  "vxlan": ["udp 0.0.0.0:8472"],
  "udp": ["udp 0.0.0.0:28285", "udp 172.28.128.100:8285"],
  "host-gw": [],
};

/** Sockets of a host that wait for others: TCP, UDP and unix. */
async function listening(host: UnderlayHost): Promise<Set<string>> {
  const lines = (await host.exec(["ss", "-Hlntux"])).trim().split("\n");
  return new Set(lines.map((line) => {
    const [family, , , , local] = line.split(/\s+/);
    return `${family} ${local}`;
  }));
}

for (const { type, config } of BACKENDS) {
  Deno.test(`flanneld listens on nothing but its tunnel and the status socket, by ${type}`, async () => {
    await using cluster = await GuideCluster.start({ config });
    const { host } = cluster;
    const before = await listening(host);
    await cluster.startAgent(host);
    const opened = async () => [...(await listening(host)).difference(before)].sort();
    const expected = [...TUNNEL_PORTS[type]!, `u_str ${STATUS_SOCKET}`].sort();
    await eventually("the status socket", async () => (await opened()).length >= expected.length);
    assertEquals(await opened(), expected);
    assertMatch(await host.exec(["stat", "-c", "%a %U", STATUS_SOCKET]), /^600 root$/m);
  });
}

Deno.test("flanneld shows the store's password nowhere, however much it logs", async () => {
  await using cluster = await GuideCluster.start({ api: "v3", options: "-iface=eth1 -v=10" });
  const { host, etcd } = cluster;
  for (
    const command of [
      ["user", "add", `root:${PASSWORD}`],
      ["user", "grant-role", "root", "root"],
      ["auth", "enable"],
    ]
  ) await etcd.ctl("v3", command);
  const sysconfig = "/etc/sysconfig/flanneld";
  const credentials = (password: string) =>
    `FLANNELD_ETCD_USERNAME=root\nFLANNELD_ETCD_PASSWORD=${password}\n`;
  const settings = await host.readTextFile(sysconfig);
  await host.writeTextFile(sysconfig, settings + credentials(PASSWORD));
  const { process } = await cluster.startAgent(host);
  const outputs = [process.output];
  for (
    const command of [["status", "-json"], ["doctor"], ["plan"], ["config", "get", "-show-secrets"]]
  ) {
    const { stdout, stderr } = await host.run([FLANNELD, ...command]);
    outputs.push(stdout + stderr);
  }
  outputs.push(await host.exec(["sh", "-c", "cat /run/flannel/subnet.env"]));
  assertMatch(outputs.join("\n"), /10\.20\.0\.0\/16/);
  for (const output of outputs) assert(!output.includes(PASSWORD), output);

  // A password that the store refuses is not quoted either.
  const wrong = `${PASSWORD}-wrong`;
  await host.writeTextFile(sysconfig, settings + credentials(wrong));
  const refused = await host.run([FLANNELD, "plan"]);
  assert(refused.code !== 0, refused.stdout);
  assert(!(refused.stdout + refused.stderr).includes(PASSWORD), refused.stderr);
});

/** Files that others read, and files that only root opens. */
const MODES: readonly (readonly [pattern: string, mode: string, count: number])[] = [
  ["/run/flannel/subnet.env /run/flannel/docker", "644", 2],
  ["/run/flannel/subnet.env.lock /run/flannel/agents/*", "600", 2],
  ["/var/lib/flannel/leases.db*", "600", 1],
];

Deno.test("flanneld's files have the modes of SECURITY.md", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.hosts[0]!;
  await host.writeTextFile(
    "/etc/sysconfig/flanneld",
    'FLANNEL_OPTIONS="-iface=eth1 -store=embedded -network=10.20.0.0/16 -backend=vxlan"\n',
  );
  await using _unit = await LabUnit.start(host);
  for (const [pattern, mode, count] of MODES) {
    const lines = (await host.exec(["sh", "-c", `stat -c "%a %U %n" ${pattern}`])).trim().split(
      "\n",
    );
    assert(lines.length >= count, lines.join("\n"));
    for (const line of lines) assertMatch(line, new RegExp(`^${mode} root /`));
  }
  const writable =
    "find /run/flannel /var/lib/flannel ! -type l '(' -perm /022 -o ! -user root ')'";
  assertEquals(await host.exec(["sh", "-c", writable]), "");
});
