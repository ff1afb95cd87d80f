import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type BackendHost,
  BackendLab,
  makeLease,
  prepare,
} from "../../backends/testing/backend_lab.ts";
import { carrierCases } from "../../backends/testing/backend_cases.ts";
import type { BackendContext, Network } from "../../backends/backend.ts";
import { hostGwBackend } from "../../backends/host_gw/host_gw.ts";
import { ConfigError } from "../../mod/config/mod.ts";
import { Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";

const OWN = "10.20.1.0/24";
const [NEAR, FAR] = ["172.28.128.101", "172.29.0.7"] as const;

function hostGwLease(subnet: string, publicIP: string): Lease {
  return makeLease(subnet, publicIP, { backendType: "host-gw" });
}

carrierCases({
  backend: hostGwBackend,
  overhead: 0,
  device: false,
  lease: hostGwLease,
});

interface HostGwTest {
  readonly lab: BackendLab;
  readonly host: BackendHost;
  readonly log: readonly string[];
  readonly step: Deno.TestContext["step"];
}

function test(sentence: string, body: (test: HostGwTest) => Promise<void>): void {
  Deno.test(`host-gw: ${sentence}`, async (t) => {
    using log = captureLog();
    await using lab = await BackendLab.make();
    await body({ lab, host: lab.host, log: log.lines, step: t.step.bind(t) });
  });
}

async function prepareHostGw(
  host: BackendHost,
  overrides: Partial<BackendContext> = {},
): Promise<{ network: Network; own: Lease }> {
  return await prepare(hostGwBackend, await host.context({ Type: "host-gw" }, overrides), OWN);
}

/** Runs a line of `ip` on a host. */
async function ip(host: BackendHost, line: string): Promise<void> {
  await host.namespace.ip(...line.split(" "));
}

/** The routes into the network, as iproute2 prints them. */
async function routes(host: BackendHost): Promise<string[]> {
  const text = await host.namespace.ip("-4", "route", "show", "root", "10.20.0.0/16");
  return text.trim().split("\n").map((line) => line.trim()).filter((line) => line !== "");
}

async function until(what: () => boolean, describe: () => string): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!what()) {
    assert(performance.now() < deadline, describe());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test("sync() makes flannel's routes, with flanneld's protocol number", async ({ host }) => {
  const { network, own } = await prepareHostGw(host);
  assertEquals(own.attributes.backendType, "host-gw");
  assertEquals(own.attributes.backendData, undefined);
  await network.sync(own, new LeaseSet([hostGwLease("10.20.2.0/24", NEAR)]));
  assertEquals(await routes(host), [`10.20.2.0/24 via ${NEAR} dev eth1 proto 102`]);
});

test("prepare() refuses a NAT with flannel's words", async ({ host }) => {
  const external = { ...host.external, publicIP: host.external.publicIP + 1 };
  const error = await assertRejects(() => prepareHostGw(host, { external }), ConfigError);
  assert(
    error.message.startsWith(
      "your PublicIP differs from interface IP, meaning that probably you're on a NAT, " +
        "which is not supported by host-gw backend",
    ),
    error.message,
  );
});

test("sync() replaces a stale gateway, which flannel 0.7.1 cannot", async ({ host, step }) => {
  const lease = hostGwLease("10.20.2.0/24", NEAR);
  const wanted = [`10.20.2.0/24 via ${NEAR} dev eth1 proto 102`];
  const stale = [
    "10.20.2.0/24 via 172.28.128.9 dev eth1 proto 102",
    "10.20.9.0/24 via 172.28.128.9 dev eth1 proto 102", // left while we were away
  ];
  for (const line of stale) {
    await step(line, async () => {
      const { network, own } = await prepareHostGw(host);
      await ip(host, `route add ${line}`);
      await network.sync(own, new LeaseSet([lease]));
      assertEquals(await routes(host), wanted);
      await network.remove();
      assertEquals(await routes(host), []);
    });
  }
});

test("sync() lets flannel's own routes carry what they lead to, and leaves them", async ({ host, log }) => {
  const { network, own } = await prepareHostGw(host);
  const boot = `10.20.2.0/24 via ${NEAR} dev eth1`;
  await ip(host, `route add ${boot}`);
  await ip(host, `route add 10.20.3.0/24 via 172.28.128.102 dev eth1 metric 9`);
  const leases = new LeaseSet([
    hostGwLease("10.20.2.0/24", NEAR),
    hostGwLease("10.20.3.0/24", "172.28.128.102"),
  ]);
  assertEquals(await network.sync(own, leases), 0);
  assertEquals(network.status().peers, 2);
  const other = "10.20.3.0/24 via 172.28.128.102 dev eth1";
  assertEquals(await routes(host), [boot, `${other} proto 102`, `${other} metric 9`]);
  assertEquals(await host.changesDuring(() => network.sync(own, leases)), []);

  // After its removal flanneld adds its own.
  await using watch = host.watch(network);
  await ip(host, `route del ${boot}`);
  const report = "route of this host to 10.20.2.0/24 removed";
  await until(() => watch.damage.includes(report), () => `${report} is not in ${watch.damage}`);
  assertEquals(await network.sync(own, leases), 0);
  assertEquals((await routes(host))[0], `${boot} proto 102`);
  await ip(host, `route del 10.20.2.0/24`);
  await ip(host, `route add ${boot}`);
  await network.apply(leases.apply([{ remove: Prefix.parse("10.20.2.0/24")! }]));
  assertEquals((await routes(host))[0], boot);
  assertEquals(log.filter((line) => line.startsWith("W")), []);
});

test("sync() refuses peers that are not on the link, one line each", async ({ host, log }) => {
  const { network, own } = await prepareHostGw(host);
  await ip(host, "route add 172.29.0.0/16 via 172.28.128.1");
  const leases = new LeaseSet([
    hostGwLease("10.20.2.0/24", NEAR),
    hostGwLease("10.20.3.0/24", FAR),
    hostGwLease("10.20.4.0/24", "192.0.2.4"),
  ]);
  for (let i = 0; i < 3; i++) assertEquals(await network.sync(own, leases), 0);
  const refused = (subnet: string, publicIP: string) =>
    `W Ignoring subnet ${subnet}: it has public IP ${publicIP}, which is not on the link of eth1 ` +
    `(172.28.128.0/24): host-gw needs all hosts on one link, vxlan does not`;
  assertEquals(log, [refused("10.20.3.0/24", FAR), refused("10.20.4.0/24", "192.0.2.4")]);
  assertEquals(await routes(host), [`10.20.2.0/24 via ${NEAR} dev eth1 proto 102`]);

  // The kernel is of the same mind, and takes the peer once the interface is in its network.
  await using watch = host.watch(network);
  await ip(host, "address add 172.29.0.1/16 dev eth1");
  const report = "eth1 is now on 172.29.0.0/16";
  await until(() => watch.damage.includes(report), () => `${report} is not in ${watch.damage}`);
  assertEquals(await network.sync(own, leases), 0);
  assertEquals(network.status().refused.size, 1);
  assertEquals((await routes(host)).length, 2);
});

/** Damage to the host, and the report about it. */
const DAMAGE: readonly (readonly [command: string, report: RegExp])[] = [
  ["route del 10.20.2.0/24", /^route to 10\.20\.2\.0\/24 removed$/],
  ["route replace 10.20.2.0/24 via 172.28.128.9 proto 102", /^route to 10\.20\.2\.0\/24 altered$/],
  ["route replace blackhole 10.20.2.0/24 proto 102", /^route to 10\.20\.2\.0\/24 altered$/],
  ["route flush proto 102", /^route to 10\.20\.[23]\.0\/24 removed$/],
];

const HARMLESS: readonly string[] = [
  "route add 198.51.100.0/24 via 172.28.128.9",
  "route add 10.20.7.0/24 via 172.28.128.9",
  "route add 10.20.2.0/24 via 172.28.128.9 table 77",
  "link set lo mtu 60000",
];

test("run() reports damage, which sync() repairs", async ({ host, log, step }) => {
  const { network, own } = await prepareHostGw(host);
  const leases = new LeaseSet([
    hostGwLease("10.20.2.0/24", NEAR),
    hostGwLease("10.20.3.0/24", "172.28.128.102"),
  ]);
  await network.sync(own, leases);
  await using watch = host.watch(network);
  const { damage } = watch;
  const quiet = () => new Promise((resolve) => setTimeout(resolve, 30));
  for (const line of HARMLESS) await ip(host, line);
  await quiet();
  assertEquals(damage, []);

  const whole = await host.state();
  for (const [line, report] of DAMAGE) {
    await step(line, async () => {
      await ip(host, line);
      const reported = () => damage.some((what) => report.test(what));
      await until(reported, () => `${report} is not in ${damage}`);
      assertEquals(await network.sync(own, leases), 0);
      assertEquals(await host.state(), whole);
      await quiet();
      damage.length = 0;
    });
  }
  assertEquals(log.filter((line) => line.startsWith("W")), []);
});

test("sync() waits, in one line, for an interface that lost its network", async (context) => {
  const { host, log, step } = context;
  const { network, own } = await prepareHostGw(host);
  const leases = new LeaseSet([hostGwLease("10.20.2.0/24", NEAR)]);
  await network.sync(own, leases);
  const whole = await host.state();
  await using watch = host.watch(network);
  const { damage } = watch;
  const address = "172.28.128.100/24 dev eth1";
  const losses: readonly (readonly [loss: string, back: string, report: string])[] = [
    [`address del ${address}`, `address add ${address}`, "eth1 is now on 172.28.128.0/24"],
    ["link set eth1 down", "link set eth1 up", "eth1 came back, its routes did not"],
  ];
  for (const [loss, back, report] of losses) {
    await step(loss, async () => {
      const from = log.length;
      await ip(host, loss);
      for (let i = 0; i < 3; i++) assertEquals(await network.sync(own, leases), 1);
      assertEquals(await network.apply(leases.apply([{ put: own }])), 1);
      assertEquals(log.slice(from), [
        "W eth1 is down or has no network of its own: no peer can be routed to until it has",
      ]);
      await ip(host, back);
      await until(() => damage.includes(report), () => `${report} is not in ${damage}`);
      assertEquals(await network.sync(own, leases), 0);
      assertEquals(await host.state(), whole);
      damage.length = 0;
    });
  }
});
