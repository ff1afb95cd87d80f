import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { CLOSED_PORT, CONFIG, eventually, PREFIX, writeSysconfig } from "../guide.ts";

Deno.test("flanneld answers the guide's first error: the prefix of another config", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(host, etcd, { prefix: "/atomic.io/network" });
  const unit = stack.use(await LabUnit.start(host, { wait: false }));
  const [line] = await unit.process.waitFor(/.*failed to retrieve network config.*/);
  assertMatch(line, /100: Key not found \(\/atomic\.io\) \[\d+\]/);
  assertMatch(line, /-etcd-prefix|FLANNEL_ETCD_PREFIX/);

  // The remedy needs no restart.
  await etcd.set("v2", "/atomic.io/network/config", CONFIG);
  await unit.ready();
});

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld refuses the guide's second error: one public IP on two hosts, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const [first, second] = lab.hosts as [UnderlayHost, UnderlayHost];
    const etcd = stack.use(await LabEtcd.start(first));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);
    // Without -iface both take eth0, which has 10.0.2.15 on every Vagrant machine.
    for (const host of lab.hosts) await writeSysconfig(host, etcd, { options: "" });
    const holder = stack.use(await LabUnit.start(first));
    assertMatch(holder.process.output, /10\.0\.2\.15/);

    const newcomer = stack.use(await LabUnit.start(second, { wait: false }));
    const { code } = await newcomer.process.status;
    assertEquals(code, 1);
    const last = newcomer.process.output.trimEnd().split("\n").at(-1)!;
    assertMatch(last, /public IP 10\.0\.2\.15 is in use by host host100/);
    assertMatch(last, /-iface/);
    assert(holder.process.running);
    assertMatch(holder.process.output, /Host host101 wants to use our public IP/);

    // The remedy in the line.
    await writeSysconfig(second, etcd);
    stack.use(await LabUnit.start(second));
    assertEquals((await etcd.keys(api, `${PREFIX}/subnets`)).length, 2);
  });
}

Deno.test("flanneld takes over the lease of a host that is gone", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [dead, heir] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(dead));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  for (const host of lab.hosts) await writeSysconfig(host, etcd, { options: "" });
  const unit = stack.use(await LabUnit.start(dead));
  await unit.kill();
  const keys = await etcd.keys("v2", `${PREFIX}/subnets`);

  const next = stack.use(await LabUnit.start(heir));
  assertMatch(next.process.output, /Host host100 did not answer; taking over/);
  assertEquals(await etcd.keys("v2", `${PREFIX}/subnets`), keys);
});

Deno.test("flanneld waits out a bad config, naming key and value, and starts when it is put right", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  await writeSysconfig(host, etcd);
  await etcd.set("v2", `${PREFIX}/config`, '{"Network": "10.20.0.0/16", "SubnetLen": 31}');
  const unit = stack.use(await LabUnit.start(host, { wait: false }));
  await unit.process.waitFor(/SubnetLen must be less than \/31/);
  const mark = unit.process.mark();
  await etcd.set(
    "v2",
    `${PREFIX}/config`,
    '{"Network": "10.20.0.0/16", "Backend": {"Type": "vlan"}}',
  );
  await unit.process.waitFor(/unknown backend type: vlan/, { from: mark });
  assertEquals(unit.process.output.match(/unknown backend type/g)?.length, 1);
  await eventually(
    "no device left of a config that failed",
    async () => !(await host.exec(["ip", "link"])).includes("flannel"),
  );
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await unit.ready();
});

Deno.test("flanneld names the remedy for an operator's mistakes", async (t) => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(host, etcd);
  const { host: authority } = new URL(etcd.endpoint);
  const rows: readonly (readonly [
    mistake: string,
    command: readonly string[],
    code: number,
    message: RegExp,
  ])[] = [
    [
      "a subnet file that is a directory",
      [FLANNELD, "-subnet-file=/run"],
      2,
      /"\/run" for flag -subnet-file: it is a directory: expected \/run\/subnet\.env/,
    ],
    [
      "a relative subnet file",
      [FLANNELD, "-subnet-file=subnet.env"],
      2,
      /"subnet\.env" for flag -subnet-file: expected a path that begins with \//,
    ],
    [
      "a command for a changed subnet that is not there",
      [FLANNELD, "-iface=eth1", "-on-subnet-change=/run/none now"],
      1,
      /cannot run \/run\/none \(-on-subnet-change\): there is no such file; give the path of/,
    ],
    [
      "https:// to an etcd without TLS",
      [FLANNELD, "config", "get", `-etcd-endpoints=https://${authority}`],
      1,
      /it does not speak TLS; is it http:\/\/ \?/,
    ],
    [
      "the API's path in the URL",
      [FLANNELD, "config", "get", `-etcd-endpoints=${etcd.endpoint}/v2/keys`],
      2,
      /etcd's API adds its own path: expected http:\/\/172\.28\.128\.100:\d+$/,
    ],
    [
      "cleanup -release with another interface",
      [FLANNELD, "cleanup", "-release", "-iface=nosuch"],
      1,
      /nothing was removed: .*nosuch.*give the -iface and -public-ip that the agent runs with/,
    ],
    [
      "cleanup -release with another etcd",
      [FLANNELD, "cleanup", "-release", `-etcd-endpoints=http://172.28.128.100:${CLOSED_PORT}`],
      1,
      /cannot be released, and nothing was removed: .*refused.*to clean this host anyway, run this without -release/,
    ],
  ];
  for (const [mistake, command, code, message] of rows) {
    await t.step(mistake, async () => {
      const result = await host.run(command);
      assertEquals(result.code, code, result.stderr);
      const lines = result.stderr.trimEnd().split("\n");
      assertMatch(lines.at(-1)!, message);
      assert(!/^ +at /m.test(result.stderr), result.stderr);
    });
  }
  assertEquals(await etcd.keys("v2", `${PREFIX}/subnets`), []);
});

Deno.test("flanneld takes no lease where it may not change the kernel, and one where it need not", async (t) => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  // Where the tester's files are, nobody else may be let in.
  await host.exec(["install", "-m", "755", FLANNELD, "/run/flanneld"]);
  await host.exec(["install", "-d", "-o", "65534", "-m", "755", "/run/flannel"]);
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const bounded = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"];
  const flags = ["-iface=eth1", `-etcd-prefix=${PREFIX}`, `-etcd-endpoints=${etcd.endpoint}`];
  const configOf = (type: string) => `{"Network": "10.20.0.0/16", "Backend": {"Type": "${type}"}}`;
  const cases: readonly (readonly [string[], string, string[], RegExp])[] = [
    [nobody, "host-gw", [], /backend host-gw needs CAP_NET_ADMIN, .*: run it as root, or give its/],
    [
      nobody,
      "vxlan",
      [],
      /backend vxlan needs CAP_NET_ADMIN, .* AmbientCapabilities=CAP_NET_ADMIN/,
    ],
    [nobody, "udp", [], /backend udp needs CAP_NET_ADMIN/],
    [nobody, "alloc", ["-ip-masq"], /-ip-masq needs CAP_NET_ADMIN/],
    [bounded, "host-gw", [], /backend host-gw needs CAP_NET_ADMIN, .* CapabilityBoundingSet=/],
  ];
  for (const [as, type, more, message] of cases) {
    await t.step([as === nobody ? "nobody" : "bounded root", type, ...more].join(" "), async () => {
      await etcd.set("v2", `${PREFIX}/config`, configOf(type));
      const command = ["timeout", "20", ...as, "/run/flanneld", ...flags, ...more];
      const { code, stderr } = await host.run(command);
      assertEquals(code, 1, stderr);
      assertMatch(stderr.trimEnd().split("\n").at(-1)!, message);
      assertEquals(await etcd.keys("v2", PREFIX), [`${PREFIX}/config`]);
    });
  }
  await t.step("nobody alloc", async () => {
    await etcd.set("v2", `${PREFIX}/config`, configOf("alloc"));
    await using agent = await host.spawn([...nobody, "/run/flanneld", ...flags]);
    await agent.waitFor(/Wrote subnet file/);
    assertEquals((await etcd.keys("v2", `${PREFIX}/subnets`)).length, 1);
  });
});

Deno.test("flanneld with several networks ends at once where it may not write their files", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.hosts[0]!;
  await host.exec(["install", "-d", "-o", "65534", "-m", "755", "/run/mistakes"]);
  for (const directory of ["/run/mistakes", "/run/mistakes/networks"]) {
    const { code, stdout, stderr } = await host.run([
      ...["timeout", "20", "setpriv", "--bounding-set=-all", "--inh-caps=-all", FLANNELD],
      ...["-networks=blue,green", `-subnet-dir=${directory}`, "-status-socket=none"],
      `-etcd-endpoints=http://127.0.0.1:${CLOSED_PORT}`,
    ]);
    assertEquals([code, stdout], [1, ""], stderr);
    const last = stderr.trimEnd().split("\n").at(-1)!;
    assertMatch(last, /-subnet-dir.*; run as root \(or give it CAP_NET_ADMIN/);
  }
});

Deno.test("flanneld's subcommands go on without a sysconfig file that this user cannot read", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.hosts[0]!;
  await host.exec(["install", "-m", "755", FLANNELD, "/run/flanneld"]);
  await host.exec(["install", "-D", "-m", "600", "/dev/null", "/etc/sysconfig/flanneld"]);
  const asNobody = (...args: string[]) =>
    host.run([
      ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/run/flanneld"],
      ...args,
    ]);
  const { code, stdout, stderr } = await asNobody(
    "config",
    "validate",
    '{"Network": "10.20.0.0/16"}',
  );
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^Network 10\.20\.0\.0\/16: /);
  assertMatch(
    stderr,
    /^cannot read \/etc\/sysconfig\/flanneld: Permission denied.*; using none of its settings \(run as root\)\n$/,
  );
  assertEquals((await asNobody("man")).code, 0);
  const named = await asNobody("config", "validate", "-sysconfig=/etc/sysconfig/flanneld", "{}");
  assertEquals(named.code, 1);
  assertMatch(named.stderr, /^flanneld: cannot read \/etc\/sysconfig\/flanneld: Permission denied/);
});
