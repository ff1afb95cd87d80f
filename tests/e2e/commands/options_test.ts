import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import type { LabProcess } from "../../lab/process.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { eventually } from "../guide.ts";

/** No flag of these agents is at its default, and no file of the host names one. */
const PREFIX = "/not/the/default";
const SUBNET_FILE = "/run/flannel/blue.env";
const UDP = '{"Network": "10.20.0.0/16"}';
const VXLAN = '{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan"}}';

/** Two hosts with agents that run from a command line alone. */
class Scene implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(
    readonly here: UnderlayHost,
    readonly there: UnderlayHost,
    readonly etcd: LabEtcd,
  ) {}

  static async start(configs: Readonly<Record<string, string>>, api: EtcdApi = "v3") {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.start({ hosts: 2 }));
    const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
    const etcd = stack.use(await LabEtcd.start(there));
    for (const [place, config] of Object.entries(configs)) {
      await etcd.set(api, `${PREFIX}${place}/config`, config);
    }
    for (const host of lab.hosts) {
      await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
      await host.exec(["rm", "-f", "/etc/sysconfig/flanneld"]);
    }
    const scene = new Scene(here, there, etcd);
    scene.#stack.use(stack.move());
    return scene;
  }

  get flags(): readonly string[] {
    return [`-etcd-endpoints=${this.etcd.endpoint}`, `-etcd-prefix=${PREFIX}`, "-iface=eth1"];
  }

  /** Starts an agent and waits for its lease. */
  async agent(
    host: UnderlayHost,
    flags: readonly string[] = [...this.flags, "-ip-masq", `-subnet-file=${SUBNET_FILE}`],
    files: readonly string[] = [SUBNET_FILE],
  ): Promise<LabProcess> {
    for (const file of files) await host.run(["rm", "-f", file]);
    const agent = this.#stack.use(await host.spawn([FLANNELD, ...flags]));
    for (const file of files) {
      await eventually(
        `${file}\n${agent.output}`,
        async () => (await host.run(["test", "-s", file])).code === 0,
      );
    }
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Runs a subcommand; what it warns of is the caller's to expect. */
async function run(host: UnderlayHost, ...words: string[]) {
  return await host.run([FLANNELD, ...words]);
}

/** Runs a subcommand that succeeds, without a line on standard error. */
async function silently(host: UnderlayHost, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(host, ...words);
  assertEquals([code, stderr], [0, ""], `${words.join(" ")}\n${stdout}`);
  return stdout;
}

async function overlayAddress(host: UnderlayHost, file = SUBNET_FILE): Promise<string> {
  return /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(await host.readTextFile(file))![1] + ".0";
}

interface DoctorCheck {
  readonly id: string;
  readonly verdict: string;
  readonly summary: string;
}

async function isPlanEmpty(host: UnderlayHost, ...flags: string[]): Promise<boolean> {
  return (await run(host, "plan", "-detailed-exitcode", ...flags)).code === 0;
}

async function doctor(host: UnderlayHost, ...flags: string[]) {
  const { code, stdout, stderr } = await run(host, "doctor", "-json", ...flags);
  assert(stdout !== "", `doctor printed no JSON, and ended with ${code}: ${stderr}`);
  const { checks } = JSON.parse(stdout) as { checks: DoctorCheck[] };
  return { stderr, wrong: checks.filter(({ verdict }) => verdict === "problem"), checks };
}

Deno.test("subcommands need no flags beside an agent whose flags are not the defaults, nor after it", async (t) => {
  await using scene = await Scene.start({ "": UDP });
  const { here, there, etcd } = scene;
  const agent = await scene.agent(here);
  await scene.agent(there);
  const peer = await overlayAddress(there);
  await eventually("a plan that is empty", async () => await isPlanEmpty(here));

  const readers = async () => {
    await t.step("plan, explain, lease list, config get and validate", async () => {
      assertMatch(await silently(here, "plan"), /nothing would change\n$/);
      const { verdict } = JSON.parse(await silently(here, "explain", "-json", peer));
      assertStringIncludes(verdict, "host101");
      const { leases } = JSON.parse(await silently(here, "lease", "list", "-json"));
      // The value of a lease of udp names no backend.
      assertEquals(leases.map(({ backend }: { backend: string }) => backend), ["udp", "udp"]);
      const { code, stdout, stderr } = await run(here, "config", "get");
      assertEquals([code, stdout], [0, `${UDP}\n`]);
      assertStringIncludes(stderr, PREFIX);
      assertMatch(await silently(here, "config", "validate"), /^Network 10\.20\.0\.0\/16: /);
    });
  };
  await readers();
  await t.step("status finds the socket, and doctor no problem with the firewall", async () => {
    assertMatch(await silently(here, "status"), /^network +10\.20\.0\.0\/16, ready$/m);
    const { checks, stderr, wrong } = await doctor(here);
    assertEquals(stderr, "");
    assertEquals(wrong, []);
    for (const id of ["agent", "lease", "firewall", "peers"]) {
      assertEquals(checks.find((check) => check.id === id)?.verdict, "ok", id);
    }
  });
  await t.step("another user reads the options, and the socket's page is root's", async () => {
    const user = ["setpriv", "--reuid=65534", "--clear-groups", FLANNELD];
    const { stdout } = await here.run([...user, "config", "get"]);
    assertEquals(stdout, `${UDP}\n`);
    const { flags } = JSON.parse(
      await here.exec(
        ["curl", "-sS", "--unix-socket", "/run/flannel/blue.sock", "http://localhost/options"],
      ),
    );
    assertEquals([flags["etcd-prefix"], flags["ip-masq"]], [PREFIX, true]);
  });
  await t.step("a flag that is given counts, and the difference is named in one line", async () => {
    const { code, stdout, stderr } = await run(here, "config", "get", "-etcd-prefix=/elsewhere");
    assertEquals([code, stdout], [1, ""]);
    const [first, ...others] = stderr.trimEnd().split("\n");
    assertEquals(
      first,
      `using other options than the agent's: -etcd-prefix=/elsewhere (the agent: -etcd-prefix=${PREFIX})`,
    );
    assertEquals(others.length, 1);
    const plan = await run(here, "plan", "-ip-masq=false", "-iface=eth1");
    assertMatch(plan.stdout, /^- firewall /m);
    assertEquals(
      plan.stderr,
      "using other options than the agent's: -ip-masq=false (the agent: -ip-masq=true)\n",
    );
    const variable = await here.run([FLANNELD, "plan"], { env: { FLANNELD_IP_MASQ: "false" } });
    assertEquals([variable.code, variable.stderr], [plan.code, plan.stderr]);
  });
  await t.step("options come over the socket where the file is missing", async () => {
    const file = `/run/flannel/options/${encodeURIComponent(SUBNET_FILE)}.json`;
    await here.exec(["mv", file, "/run/kept"]);
    assertMatch(
      await silently(here, "plan", `-subnet-file=${SUBNET_FILE}`),
      /nothing would change\n$/,
    );
    await here.exec(["mv", "/run/kept", file]);
  });
  await t.step("cleanup finds the agent that runs", async () => {
    const { code, stderr } = await run(here, "cleanup");
    assertEquals(code, 1);
    assertStringIncludes(stderr, `holds the lock of subnet file ${SUBNET_FILE}`);
  });

  // A start refuses outside sources at once, and an agent five seconds after its peers advertise masquerading.
  await eventually(
    `strict source checks\n${agent.output}`,
    () => Promise.resolve(agent.output.includes("all of 1 peer masquerade")),
    15_000,
  );
  await agent.stop();
  await readers();
  await t.step("status and doctor look for the agent that ended", async () => {
    const status = await run(here, "status");
    assertEquals(status.code, 1);
    assertMatch(
      status.stderr,
      /^flanneld: no agent runs here: no process answers on \/run\/flannel\/blue\.sock/,
    );
    const { wrong, stderr } = await doctor(here);
    assertEquals([stderr, wrong.map(({ id }) => id)], ["", ["agent"]]);
  });
  await t.step("cleanup -release removes all, and the options last", async () => {
    assertMatch(
      await silently(here, "cleanup", "-release", "-dry-run"),
      /^would remove device flannel0$/m,
    );
    const stdout = await silently(here, "cleanup", "-release");
    assertMatch(stdout, /^removed lease 10\.20\.\d+\.0\/24/m);
    assertMatch(stdout, /^removed device flannel0$/m);
    assertEquals((await here.run(["test", "-e", "/run/flannel"])).code, 1);
    assertEquals((await etcd.keys("v3", `${PREFIX}/subnets`)).length, 1);
    assertEquals(await silently(here, "cleanup"), "nothing to remove\n");
  });
});

Deno.test("subcommands find the agent of several networks, and each network of it", async () => {
  await using scene = await Scene.start({
    "/blue": VXLAN,
    "/green": '{"Network": "10.30.0.0/16", "Backend": {"Type": "host-gw"}}',
  });
  const { here } = scene;
  const directory = "/run/flannel/several";
  const files = ["blue", "green"].map((name) => `${directory}/${name}.env`);
  const flags = [...scene.flags, "-networks=blue,green", `-subnet-dir=${directory}`, "-ip-masq"];
  const agent = await scene.agent(here, flags, files);
  await eventually("a plan that is empty", async () => await isPlanEmpty(here));
  const networks = /^network blue:\n[^]*^network green:\n[^]*^nothing would change$/m;
  for (const isRunning of [true, false]) {
    if (!isRunning) await agent.stop();
    assertMatch(await silently(here, "plan"), networks);
    const { checks } = await doctor(here);
    assertEquals(
      checks.filter(({ id }) => id === "lease").map(({ verdict }) => verdict),
      ["ok", "ok"],
    );
    const { leases } = JSON.parse(
      await silently(here, "lease", "list", "-json", "-networks=green"),
    );
    assertEquals(leases.length, 1);
    assert(leases[0].subnet.startsWith("10.30."));
    const { code, stderr } = await run(here, "lease", "list");
    assertEquals(code, 2);
    assertMatch(
      stderr,
      /^flanneld: the agent serves the networks blue, green and this command takes one$/m,
    );
  }
  assertMatch(await silently(here, "cleanup"), /^removed device flannel\.1$/m);
  assertEquals((await here.run(["test", "-e", "/run/flannel"])).code, 1);
});

Deno.test("subcommands name the agents of a host where there are several, and take the default one", async () => {
  await using scene = await Scene.start({ "": UDP, "/more": VXLAN.replace("10.20", "10.30") });
  const { here } = scene;
  const place = `-etcd-endpoints=${scene.etcd.endpoint}`;
  const file = "/run/flannel/subnet.env";
  await scene.agent(here, [...scene.flags, "-ip-masq"], [file]);
  await scene.agent(here, [
    place,
    `-etcd-prefix=${PREFIX}/more`,
    "-iface=eth1",
    `-subnet-file=${SUBNET_FILE}`,
  ]);
  const byDefault = await run(here, "config", "validate");
  assertMatch(byDefault.stdout, /^Network 10\.20\.0\.0\/16: /);
  assertEquals(
    byDefault.stderr,
    `2 agents on this host: using the options of the one with -subnet-file=${file}; ` +
      `for another give -subnet-file=${SUBNET_FILE}\n`,
  );
  for (const [path, network] of [[file, "10.20"], [SUBNET_FILE, "10.30"]] as const) {
    assertStringIncludes(
      await silently(here, "config", "validate", `-subnet-file=${path}`),
      `Network ${network}.0.0/16: `,
    );
    await eventually(
      "a plan that is empty",
      async () => await isPlanEmpty(here, `-subnet-file=${path}`),
    );
  }
});

Deno.test("subcommands of a client read the token where the agent does, and name the flag where they may not", async () => {
  await using scene = await Scene.start({});
  const { here, there } = scene;
  const file = "/etc/flannel/remote-token";
  const token = `-remote-token-file=${file}`;
  for (const host of [here, there]) {
    await host.writeTextFile(file, crypto.randomUUID().replaceAll(/./g, "a"), 0o600);
  }
  const listen = `${there.address}:8888`;
  const store = ["-store=embedded=/var/lib/flannel-test/leases.db", "-network=10.20.0.0/16"];
  await scene.agent(
    there,
    [...store, "-backend=vxlan", `-listen=${listen}`, token, "-iface=eth1", "-ip-masq"],
    ["/run/flannel/subnet.env"],
  );
  await scene.agent(here, [
    ...[`-remote=${listen}`, token, "-iface=eth1", "-ip-masq", `-subnet-file=${SUBNET_FILE}`],
  ]);
  const peer = await overlayAddress(there, "/run/flannel/subnet.env");
  for (const [host, address] of [[here, peer], [there, await overlayAddress(here)]] as const) {
    await eventually("a plan that is empty", async () => await isPlanEmpty(host));
    assertEquals(JSON.parse(await silently(host, "lease", "list", "-json")).leases.length, 2);
    assertEquals((await doctor(host)).wrong, []);
    await silently(host, "explain", address);
  }
  // Only a client with the token may write this.
  assertMatch(
    await silently(here, "lease", "reserve", "10.20.250.0/24", "172.28.128.199"),
    /^reserved 10\.20\.250\.0\/24 /,
  );
  const { code, stderr } = await here.run(
    ["setpriv", "--reuid=65534", "--clear-groups", FLANNELD, "lease", "list"],
  );
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^flanneld: -remote-token-file \/etc\/flannel\/remote-token: permission denied; .*\n$/i,
  );
});

Deno.test("subcommands read etcd's password where the agent does, and name the variable where they cannot", async () => {
  await using scene = await Scene.start({ "": VXLAN });
  const { here, there, etcd } = scene;
  const etcdctl = async (...words: string[]) =>
    await there.exec(["etcdctl", `--endpoints=${etcd.endpoint}`, ...words], {
      env: { ETCDCTL_API: "3" },
    });
  await etcdctl("user", "add", "root:s3cret");
  await etcdctl("user", "grant-role", "root", "root");
  await etcdctl("auth", "enable");
  const password = "FLANNELD_ETCD_PASSWORD";
  await here.writeTextFile("/run/agent", `${password}=s3cret\n`, 0o600);
  const line = [FLANNELD, ...scene.flags, "-etcd-username=root", "-etcd-api=v3", "-ip-masq"];
  await using agent = await here.spawn(line, { env: { [password]: "s3cret" } });
  await eventually(
    `a subnet file\n${agent.output}`,
    async () => (await here.run(["test", "-s", "/run/flannel/subnet.env"])).code === 0,
  );
  const files = await here.exec(["sh", "-c", "cat /run/flannel/options/*.json"]);
  assert(!files.includes("s3cret"), files);

  const { code, stderr } = await run(here, "lease", "list");
  assertEquals(code, 1);
  assertEquals(
    stderr.split("\n")[0],
    `the agent has a password for etcd's user "root", which it does not publish: set ${password} ` +
      "or give -etcd-password",
  );
  const plan = await here.run([FLANNELD, "plan", "-detailed-exitcode"], {
    env: { [password]: "s3cret" },
  });
  assertEquals([plan.code, plan.stderr], [0, ""], plan.stdout);
  await silently(here, "lease", "list", "-etcd-password=s3cret");
  await here.writeTextFile("/etc/sysconfig/flanneld", `${password}=s3cret\n`, 0o600);
  await silently(here, "lease", "list");
  assertEquals((await doctor(here)).wrong.map(({ id }) => id), []);
});

Deno.test("plan and doctor report no change while the agent waits to refuse sources outside the network", async () => {
  await using scene = await Scene.start({ "": UDP });
  const { here, there } = scene;
  await scene.agent(here);
  const flags = [...scene.flags, `-subnet-file=${SUBNET_FILE}`];
  const sources = async () => {
    const { networks } = JSON.parse((await here.run([FLANNELD, "status", "-json"])).stdout);
    return networks[0].backend.outsideSources;
  };
  /** Runs both commands while the agent waits; `undefined` when that took longer than its 5 s. */
  const whileItWaits = async () => {
    const without = await scene.agent(there, flags);
    await eventually("accepted sources", async () => {
      const { reason, refused } = await sources();
      return !refused && !reason.endsWith("about to change");
    });
    await eventually("a plan that is empty", async () => await isPlanEmpty(here));
    await without.stop();
    const masquerading = await scene.agent(there, [...flags, "-ip-masq"]);
    const isDue = async () => {
      const { reason, refused } = await sources();
      return refused || reason.endsWith("about to change");
    };
    await eventually("a change that is due", isDue);
    const [plan, { checks }] = await Promise.all([
      run(here, "plan", "-detailed-exitcode"),
      doctor(here),
    ]);
    if (!(await sources()).refused) return { plan, checks };
    await masquerading.stop();
    return undefined;
  };
  let seen = await whileItWaits();
  // A busy machine needs several attempts.
  for (let attempt = 1; seen === undefined && attempt < 5; attempt++) seen = await whileItWaits();
  if (seen === undefined) throw new Error("the commands took longer than the agent waits");
  const { plan, checks } = seen;
  assertEquals([plan.code, plan.stderr], [0, ""], plan.stdout);
  assertMatch(plan.stdout, /outside the network: accepted \(.*; about to change\)$/m);
  assertEquals(checks.find(({ id }) => id === "kernel")?.verdict, "ok");
  await eventually("sources that are refused", async () => (await sources()).refused);
  assertMatch(await silently(here, "plan"), /outside the network: refused /);
});
