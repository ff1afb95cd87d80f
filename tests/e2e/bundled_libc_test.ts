import { assert, assertEquals, assertMatch } from "@std/assert";
import { basename } from "@std/path";
import { LIBRARIES } from "../../scripts/build/bundled_libc.ts";
import { BareRoot } from "../lab/bare_root.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { LabSystemd } from "../lab/systemd.ts";
import { BACKENDS, CONFIG, eventually, PREFIX, writeSysconfig } from "./guide.ts";
import { followGuide } from "./guide_case.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SYSTEMD_219 = `${ROOT}scripts/systemd/systemd-219`;

/** The command of -on-subnet-change. */
const HOOK = "#!/bin/sh\nenv > /run/hook-environment\ncat /proc/self/maps > /run/hook-maps\n";

const work = await Deno.makeTempDir({ prefix: "flanneld-bundled-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));
const root = await BareRoot.make(`${work}/root`);
// The bundled C library resolves a name, without a file for the order of its sources.
await Deno.writeTextFile(`${root.path}/etc/hosts`, "172.28.128.100 etcd.lab\n");

for (const backend of BACKENDS) {
  const { type } = backend;
  const api = type === "vxlan" ? "v2" : "v3";
  const title = `carries the guide's nine container pings, and TCP, by ${type}, on etcd ${api}, ` +
    "without another C library and on the system calls of Linux 3.10";
  Deno.test(`the build with its own C library ${title}`, () =>
    followGuide({
      ...{ api, version: "installed", backend, enter: root.enter },
      options: "-iface=eth1 -ip-masq -etcd-endpoints=http://etcd.lab:2379",
      ...(type === "udp" &&
        { warnings: /^W.* udp stays in user space: BPF_MAP_CREATE .*ENOSYS.*$/ }),
    }));
}

Deno.test("the build with its own C library ends with one line where neither getrandom(2) nor /dev/random is there", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await Deno.rename(`${root.path}/dev/random`, `${root.path}/dev/hidden`);
  try {
    const { code, stdout, stderr } = await host.run([
      ...root.enter,
      ...["/usr/bin/flanneld", "-iface=eth1", "-etcd-endpoints=http://127.0.0.1:4002"],
    ]);
    assertEquals([code, stdout, stderr], [
      ...[1, ""],
      "flanneld: this kernel has no getrandom(2), and /dev/random is missing: mount devtmpfs on /dev, " +
      "or run mknod -m 666 /dev/random c 1 8\n",
    ]);
  } finally {
    await Deno.rename(`${root.path}/dev/hidden`, `${root.path}/dev/random`);
  }
});

Deno.test("the build with its own C library runs under the unit for systemd 219, and starts programs with the host's C library", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const [host] = lab.hosts as [UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(host, etcd, {
    options: "-iface=eth1 -ip-masq -firewall=iptables -on-subnet-change=/usr/bin/hook",
  });
  const systemd = stack.use(await LabSystemd.start(host));
  await systemd.exec(["mkdir", "-p", LIBRARIES, "/usr/libexec/flannel", "/etc/tmpfiles.d"]);
  for (
    const [from, to] of [
      ...root.libraries.map((path) => [path, `${LIBRARIES}/${basename(path)}`] as const),
      [root.executable, "/usr/bin/flanneld"],
      [`${ROOT}scripts/mk-docker-opts.sh`, "/usr/libexec/flannel/mk-docker-opts.sh"],
      [`${SYSTEMD_219}/flanneld.service`, "/etc/systemd/system/flanneld.service"],
      [`${SYSTEMD_219}/tmpfiles.conf`, "/etc/tmpfiles.d/flanneld.conf"],
    ] as [string, string][]
  ) {
    await Deno.copyFile(from, systemd.path(to));
  }
  await Deno.writeTextFile(systemd.path("/usr/bin/hook"), HOOK, { mode: 0o755 });
  await systemd.exec(["systemd-tmpfiles", "--create", "flanneld.conf"]);
  await systemd.exec(["systemctl", "daemon-reload"]);
  await systemd.exec(["systemctl", "start", "flanneld"]).catch(async (error) => {
    throw new Error(`${error.message}${await systemd.journal("flanneld")}`);
  });

  const pid = await systemd.property("flanneld", "MainPID");
  const maps = await systemd.exec(["cat", `/proc/${pid}/maps`]);
  const mapped = new Set(maps.match(/\/\S+\.so\S*/g));
  assertEquals([...mapped].filter((path) => !path.startsWith(`${LIBRARIES}/`)), []);
  assert(mapped.size >= 5 && mapped.size <= root.libraries.length, [...mapped].join());
  const status = await systemd.exec(["cat", `/proc/${pid}/status`]);
  assertMatch(status, /^CapBnd:\t0*3000$/m); // capability(7): NET_ADMIN is 12, NET_RAW 13.
  assertMatch(status, /^Seccomp:\t2$/m);

  assertMatch(await host.exec(["iptables", "-t", "nat", "-S"]), /-A FLANNEL-POSTRTG .*MASQUERADE/);
  await etcd.set("v3", `${PREFIX}/config`, CONFIG.replace("10.20.", "10.30."));
  await eventually("the command has run", async () => {
    return (await systemd.run(["test", "-s", "/run/hook-maps"])).code === 0;
  });
  const hookMaps = await host.readTextFile("/run/hook-maps");
  assertMatch(hookMaps, /\/libc\.so\.6$/m);
  assert(!hookMaps.includes(LIBRARIES), hookMaps);
  assert(!/^LD_/m.test(await host.readTextFile("/run/hook-environment")));

  await systemd.exec(["systemctl", "stop", "flanneld"]);
  assertEquals(await systemd.property("flanneld", "Result"), "success");
  // Docker starts by these while the agent is down.
  assertMatch(await host.readTextFile("/run/flannel/docker"), /--bip=10\.[23]0\./);
});
