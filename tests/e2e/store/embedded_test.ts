import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { eventually, isFullMesh, overlayAddress, subnetOf } from "../guide.ts";

const NETWORK = "-network=10.20.0.0/16 -subnet-len=24 -backend=vxlan";
const PORT = 8889;
const TOKEN_FILE = "/etc/flannel/remote-token";
const OPEN = "-listen-allow-unauthenticated";

/** The first host keeps the leases in a file and serves them; the others are its clients. */
async function configure(lab: Lab, more = NETWORK, token = ""): Promise<void> {
  const [first] = lab.hosts as [UnderlayHost];
  for (const host of lab.hosts) {
    const options = host === first
      ? `-iface=eth1 -store=embedded ${more} -listen=${first.address}:${PORT} ${token || OPEN}`
      : `-iface=eth1 -remote=${first.address}:${PORT} ${token}`;
    await host.writeTextFile("/etc/sysconfig/flanneld", `FLANNEL_OPTIONS="${options}"\n`);
  }
}

async function run(host: UnderlayHost, ...args: string[]) {
  return await host.run([FLANNELD, ...args]);
}

/** Reserves and releases subnets until `signal` aborts: writes beside the agent's own. */
async function load(host: UnderlayHost, signal: AbortSignal): Promise<string[]> {
  const reserved: string[] = [];
  for (let i = 200; i < 256 && !signal.aborted; i++) {
    const subnet = `10.20.${i}.0/24`;
    const { code, stderr } = await run(host, "lease", "reserve", subnet, `172.28.128.${i}`);
    assertEquals(code, 0, stderr);
    reserved.push(subnet);
  }
  return reserved;
}

async function listed(host: UnderlayHost): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await run(host, "lease", "list", "-json");
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout).leases;
}

Deno.test("flanneld needs no etcd: a file on one host, clients on the others", async (t) => {
  await using lab = await Lab.start({ hosts: 3 });
  await using stack = new AsyncDisposableStack();
  const [first, second] = lab.hosts as [UnderlayHost, UnderlayHost];
  await configure(lab);
  // One file system: on an overlay of two, stat(2) has another device than /proc/locks, which has the holder.
  await first.exec(["sh", "-ec", "cd /var/lib; mkdir -p flannel; mount -t tmpfs tmpfs flannel"]);
  const units: LabUnit[] = [];
  for (const host of lab.hosts) units.push(stack.use(await LabUnit.start(host)));
  const subnets = await Promise.all(lab.hosts.map(subnetOf));

  await t.step("every host reaches every other", async () => {
    await eventually("a full mesh", () => isFullMesh(lab.hosts));
    assertEquals(new Set(subnets).size, 3);
  });

  await t.step("lease list shows who has what while the agent runs", async () => {
    const rows = await listed(first);
    assertEquals(rows.map(({ subnet }) => subnet).sort(), subnets.toSorted());
    assertEquals(
      new Set(rows.map(({ publicIP }) => publicIP)),
      new Set(lab.hosts.map((h) => h.address)),
    );
    const table = (await run(first, "lease", "list")).stdout;
    assertStringIncludes(table, "host100");
    // A client asks the server.
    assertEquals((await listed(second)).length, 3);
  });

  await t.step(
    "killed under load it is back with the same subnet, and has lost no lease",
    async () => {
      const controller = new AbortController();
      const loading = load(first, controller.signal);
      for (let round = 0; round < 3; round++) {
        await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 300));
        await units[0]!.kill();
        units[0] = stack.use(await LabUnit.start(first));
        assertEquals(await subnetOf(first), subnets[0]);
      }
      controller.abort();
      const reserved = await loading;
      assert(reserved.length > 0);
      const rows = await listed(first);
      assertEquals(
        rows.filter((row) => row.reserved).map(({ subnet }) => subnet),
        reserved,
      );
      assertEquals(rows.length, reserved.length + 3);
      await eventually("a full mesh", () => isFullMesh(lab.hosts));
    },
  );

  await t.step(
    "a reservation of its own subnet outlives the agent, until it is released",
    async () => {
      const own = subnets[0]!;
      const reserve = await run(first, "lease", "reserve", own, first.address);
      assertEquals(reserve.code, 0, reserve.stderr);
      await units[0]!.stop();
      units[0] = stack.use(await LabUnit.start(first));
      const isReserved = async () =>
        (await listed(first)).find(({ subnet }) => subnet === own)?.reserved;
      assertEquals(await isReserved(), true);
      const taken = await run(first, "lease", "reserve", own, "172.28.128.99");
      assertEquals(taken.code, 1);
      assertStringIncludes(taken.stderr, "subnet: lease already taken");
      assertEquals((await run(first, "lease", "unreserve", own)).code, 0);
      assertEquals(await isReserved(), false);
      assertEquals(await subnetOf(first), own);
    },
  );

  await t.step("a dead host is evicted, once the operator has confirmed it", async () => {
    const third = lab.hosts[2]!;
    await units[2]!.kill();
    const evict = (...flags: string[]) => run(first, "lease", "evict", third.address, ...flags);
    const asked = await evict();
    assertEquals(asked.code, 3);
    assertStringIncludes(asked.stderr, "flanneld: nothing was changed: ");
    assertStringIncludes(asked.stdout, `- lease ${subnets[2]}\n- node record of ${third.address}`);
    const isListed = async () =>
      (await listed(first)).some(({ publicIP }) => publicIP === third.address);
    assertEquals(await isListed(), true);
    assertEquals((await evict("-yes")).code, 0);
    assertEquals(await isListed(), false);
    assertEquals((await evict("-yes")).code, 1);
    units[2] = stack.use(await LabUnit.start(third));
    await eventually("a full mesh", () => isFullMesh(lab.hosts));
  });

  await t.step("a client without the server's token is not served", async () => {
    const reserve = (...args: string[]) =>
      run(second, "lease", "reserve", "10.20.199.0/24", "172.28.128.199", ...args);
    const refused = await reserve();
    assertEquals(refused.code, 1, refused.stdout);
    assertStringIncludes(refused.stderr, "172.28.128.199 from 172.28.128.101 needs credentials");
    assertEquals(refused.stderr.trimEnd().split("\n").length, 1, refused.stderr);
    const token = crypto.randomUUID();
    for (const host of lab.hosts) await host.writeTextFile(TOKEN_FILE, token, 0o600);
    await units[0]!.stop();
    await configure(lab, NETWORK, `-remote-token-file=${TOKEN_FILE}`);
    units[0] = stack.use(await LabUnit.start(first));
    // The agents run without the token still.
    await units[0].process.waitFor(
      /^W.*Refused GET \/v1\/_\/store\S* from \S+: this server needs/m,
    );
    const without = await run(second, "lease", "list", "-remote-token-file=");
    assertEquals(without.code, 1, without.stdout);
    assertStringIncludes(without.stderr, "this server needs a token: give -remote-token-file");
    for (const [index, host] of lab.hosts.entries()) {
      if (host === first) continue;
      await units[index]!.stop();
      units[index] = stack.use(await LabUnit.start(host));
      await units[index]!.process.waitFor(/^W.*-remote 172\S+: without TLS everybody on the path/m);
    }
    const granted = await reserve();
    assertEquals(granted.code, 0, granted.stderr);
    await units[0].process.waitFor(
      /store\/subnets\/10\.20\.199\.0-24 - 200 \(172\..*\.101, token\)/,
    );
    assert(!units[0].process.output.includes(token));
    await second.writeTextFile(TOKEN_FILE, crypto.randomUUID(), 0o600);
    const wrong = await reserve();
    assertEquals(wrong.code, 1);
    assertStringIncludes(wrong.stderr, "the token is not this server's");
    await second.writeTextFile(TOKEN_FILE, token, 0o644);
    const open = await reserve();
    assertEquals(open.code, 1);
    assertStringIncludes(
      open.stderr,
      `-remote-token-file ${TOKEN_FILE}: mode 0644 opens the token`,
    );
    assertEquals(open.stderr.trimEnd().split("\n").length, 1, open.stderr);
    await second.writeTextFile(TOKEN_FILE, token, 0o600);
    await eventually("a full mesh", () => isFullMesh(lab.hosts));
  });

  await t.step(
    "a second agent on the file is refused in a line that names its holder",
    async () => {
      const { code, stderr } = await run(
        first,
        ...["-store=embedded", "-iface=eth1", "-subnet-file=/run/other/subnet.env"],
      );
      assertEquals(code, 1);
      assertStringIncludes(stderr, "/var/lib/flannel/leases.db is in use by flanneld (pid ");
    },
  );

  await t.step(
    "other flags at a later start change nothing, and the log reports that",
    async () => {
      await units[0]!.stop();
      await configure(lab, "-network=10.30.0.0/16");
      units[0] = stack.use(await LabUnit.start(first));
      assertEquals(await subnetOf(first), subnets[0]);
      const output = units[0]!.process.output;
      assertStringIncludes(output, "are for the first start alone");
      assertEquals(await first.ping(await overlayAddress(second)), 1);
    },
  );
});

Deno.test("flanneld makes no file where something is to be taken from one", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  for (
    const command of [
      ["config", "delete", "-yes"],
      ["lease", "release", "10.20.3.0/24"],
      ["lease", "reserve", "10.20.3.0/24", "172.28.128.99"],
      ["cleanup", "-release"],
    ]
  ) {
    const { code, stdout, stderr } = await run(host, ...command, "-store=embedded=/run/none/l.db");
    assertEquals([code, stdout], [1, ""], stderr);
    assertStringIncludes(
      stderr,
      "/run/none/l.db is not there: an agent with -store embedded makes",
    );
  }
  assertEquals((await host.run(["ls", "-d", "/run/none"])).code, 2);
});

Deno.test("flanneld with a file and no config explains what to give it, and goes on with a config", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await host.writeTextFile(
    "/etc/sysconfig/flanneld",
    'FLANNEL_OPTIONS="-iface=eth1 -store=embedded"\n',
  );
  await using unit = await LabUnit.start(host, { wait: false });
  await eventually(
    "the reason",
    () => Promise.resolve(unit.process.output.includes("give -network, for example")),
  );
  const { code, stderr } = await host.run(
    [FLANNELD, "config", "set", "-yes", '{"Network":"10.20.0.0/16","Backend":{"Type":"host-gw"}}'],
  );
  assertEquals(code, 0, stderr);
  await unit.ready();
  assertStringIncludes(await subnetOf(host), "10.20.");
  // Beside the agent, another network of the same file.
  const blue = '{"Network":"10.71.0.0/16","Backend":{"Type":"host-gw"}}';
  const set = await run(host, "config", "set", "-yes", "-networks=blue", blue);
  assertEquals(set.code, 0, set.stderr);
  assertEquals((await run(host, "config", "get", "-networks=blue")).stdout, `${blue}\n`);
  assertStringIncludes((await run(host, "config", "get")).stdout, "10.20.0.0/16");
  const reserve = ["lease", "reserve", "-networks=blue", "10.71.3.0/24", "172.28.128.99"];
  assertEquals((await run(host, ...reserve)).code, 0);
  assertEquals((await listed(host)).length, 1);
  const several = await run(host, "lease", "list", "-networks=blue,green");
  assertEquals(several.code, 2);
  assertStringIncludes(
    several.stderr,
    "the agent serves the networks blue, green and this command takes one",
  );
});
