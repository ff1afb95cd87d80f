import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSION } from "../../../mod/version.ts";
import { LabContainer, LabDocker } from "../../lab/docker.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { writeLabRelease } from "../../lab/release.ts";
import { LabSystemd } from "../../lab/systemd.ts";
import { CONFIG, eventually, PREFIX } from "../guide.ts";
import { blocks } from "../pages.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const IMAGE = `flanneld:${VERSION}`;

const read = (name: string) => Deno.readTextFile(`${ROOT}docs/container/${name}`);

const work = await Deno.makeTempDir({ prefix: "flanneld-image-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));
await writeLabRelease(work, { formats: ["oci"] });

/** Arguments of the unit's `docker run`. */
async function unitArguments(): Promise<string[]> {
  const text = (await read("flanneld-container.service")).replaceAll("\\\n", "");
  return /^ExecStart=\/usr\/bin\/docker (.*)$/m.exec(text)![1]!.split(/\s+/);
}

Deno.test("the image connects containers of two hosts, loaded by two versions of Docker and started by its unit", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  const [load, enable, lock, network] = await blocks("docs/container.md", "Run it", 4) as [
    string,
    string,
    string,
    string,
  ];
  const unit = await read("flanneld-container.service");
  const start = async (host: UnderlayHost, version: "installed" | "testing") => {
    const docker = stack.use(await LabDocker.start(host, { version }));
    const run = (block: string) => host.exec(["sh", "-ec", `cd ${work}\n${block}`]);
    assertMatch(await run(load), new RegExp(IMAGE));
    await host.writeTextFile(
      "/etc/sysconfig/flanneld",
      `FLANNEL_ETCD_ENDPOINTS=${etcd.endpoint}\nFLANNEL_ETCD_PREFIX=${PREFIX}\n` +
        'FLANNEL_OPTIONS="-iface=eth1 -ip-masq"\n',
    );
    await host.writeTextFile("/etc/systemd/system/flanneld-container.service", unit);
    // dockerd runs already.
    await host.writeTextFile(
      "/etc/systemd/system/docker.service",
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    );
    const systemd = stack.use(await LabSystemd.start(host));
    await systemd.exec(["sh", "-ec", lock]);
    assert((await Deno.stat(systemd.path("/run/xtables.lock"))).isFile);
    await systemd.exec(["sh", "-ec", enable]);
    const log = () => systemd.journal("flanneld-container");
    await eventually("a lease", async () => /^.* Wrote subnet file to /m.test(await log()));
    const { code, stderr } = await docker.tryDocker([
      ...["run", "--rm", "--entrypoint", "/bin/sh", IMAGE, "-c", "true"],
    ]);
    assert(code !== 0 && /no such file/.test(stderr), stderr);
    const container = "--detach --name shell --stop-signal KILL busybox:lab tail -f /dev/null";
    await run(network.replace("flannel ...", `flannel ${container}`));
    return { docker, log, container: new LabContainer(docker, "shell") };
  };
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const first = await start(one, "installed");
  const second = await start(two, "testing");

  assertEquals(await first.container.ping(await second.container.address(), { count: 3 }), 3);
  assertEquals(await second.container.ping(await first.container.address(), { count: 3 }), 3);
  for (const [host, { docker, log }] of [[one, first], [two, second]] as const) {
    // The image's own iptables makes the rules of the host.
    assertMatch(
      await host.exec(["iptables", "-t", "nat", "-S"]),
      /-A FLANNEL-POSTRTG .*MASQUERADE/,
    );
    const status = await docker.tryDocker(["exec", "flanneld", "flanneld", "status"]);
    assertEquals(status.code, 0, status.stdout + status.stderr + await log());
    assertEquals((await log()).match(/^[WEF]\d{4} .*/gm), null);
  }

  // With CAP_BPF and /sys/fs/bpf udp is in the kernel.
  await etcd.set(
    "v3",
    `${PREFIX}/config`,
    '{"Network": "10.20.0.0/16", "Backend": {"Type": "udp"}}',
  );
  for (const host of lab.hosts) {
    await eventually("the programs of udp", async () => {
      return (await host.run(["ls", "/sys/fs/bpf/flanneld"])).stdout.startsWith("flannel0_");
    });
  }
  await eventually("an answer by udp", async () => {
    return await first.container.ping(await second.container.address()) === 1;
  });
});

Deno.test("compose.yaml starts the container as the unit does", async () => {
  const compose = await read("compose.yaml");
  const args = await unitArguments();
  const valuesOf = (option: string) => args.filter((_, i) => args[i - 1] === option);
  const list = (key: string) =>
    new RegExp(`^ +${key}: \\[(.*)\\]$`, "m").exec(compose)![1]!.split(", ");
  assertEquals(list("cap_add"), valuesOf("--cap-add"));
  assertEquals(list("cap_drop"), valuesOf("--cap-drop"));
  assertEquals(list("security_opt"), valuesOf("--security-opt"));
  assertEquals(list("tmpfs"), valuesOf("--tmpfs"));
  assertEquals(list("devices"), valuesOf("--device"));
  assert(compose.includes(`image: ${args.at(-1)}\n`));
  assertEquals(args.at(-1), IMAGE);
  for (
    const [key, option] of [["network_mode", "--network"], ["container_name", "--name"]] as const
  ) {
    assert(compose.includes(`    ${key}: ${valuesOf(option)[0]}\n`), key);
  }
  assertEquals(args.includes("--read-only"), compose.includes("    read_only: true\n"));
  const mounts = [...compose.matchAll(
    /source: ([^,\s]+)(?:,|\n)\s+target: ([^,\s]+)(, read_only: true)?/g,
  )].map(([, source, target, readOnly]) =>
    `type=bind,source=${source},target=${target}${readOnly === undefined ? "" : ",readonly"}`
  );
  assertEquals(mounts, valuesOf("--mount"));
  for (const name of valuesOf("--env")) assertMatch(compose, new RegExp(`^ +${name}: `, "m"));
});
