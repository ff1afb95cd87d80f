/**
 * Requirements of every cloud backend, as a table of cases that each provider's test runs against a
 * fake of that provider.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Backend, BackendContext, Network } from "../../backends/backend.ts";
import { makeLease } from "../../backends/testing/backend_lab.ts";
import { loadBackend } from "../../backends/registry.ts";
import { decodeNetworkConfig } from "../../mod/config/mod.ts";
import { parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue } from "../../mod/lease/mod.ts";
import { captureLog } from "../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { DryRunNetlink, type Netlink } from "../../mod/sys/mod.ts";
import type { CloudLab, CloudMachine } from "./cloud_lab.ts";

/** A provider under test. */
export interface CloudSubject {
  /** `Backend.Type` */
  readonly type: string;
  start(): Promise<CloudLab>;
  /** Required content of a line about a route that is not permitted. */
  readonly denied: RegExp;
  /** Calls that make, replace and remove a route, as {@linkcode CloudLab.takeChanges} returns them. */
  readonly calls: {
    readonly first: readonly string[];
    readonly replace: readonly string[];
    readonly remove: readonly string[];
  };
}

/** Fixture of a case; everything in it is new. */
export interface CloudCase {
  readonly subject: CloudSubject;
  readonly lab: CloudLab;
  readonly host: CloudMachine;
  readonly other: CloudMachine;
  readonly log: readonly string[];
  /** Prepares the backend on a machine. */
  prepare(machine: CloudMachine, options?: CaseOptions): Promise<Network>;
  /** Returns the context of a backend on a machine. */
  context(machine: CloudMachine, options?: CaseOptions): Promise<BackendContext>;
  backend(): Promise<Backend>;
}

/** Options of a case's backend. */
export interface CaseOptions extends Partial<Pick<BackendContext, "formerNetworks" | "signal">> {
  /** Members of the config's `Backend` besides `Type`. */
  readonly options?: Readonly<Record<string, JsonValue>>;
  readonly isDryRun?: boolean;
  /** Added to the machine's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

type Case = readonly [sentence: string, run: (context: CloudCase) => Promise<void>];

/** Of the host under test. */
const OWN = "10.20.1.0/24";

export const own = (subnet = OWN) => makeLease(subnet, "172.28.128.100");

const CASES: readonly Case[] = [
  ["sync() makes one route to our subnet, and a second one changes nothing", async (context) => {
    const { subject, lab, host, prepare, backend } = context;
    const network = await prepare(host);
    assertEquals([network.mtu, (await backend()).leaseType, network.leaseData("v0.7")], [
      ...[8900, undefined, undefined],
    ]);
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(await lab.routes(), [`${OWN} host100`]);
    assertEquals(lab.takeChanges(), [...subject.calls.first]);
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    // As after a restart.
    assertEquals(await (await prepare(host)).sync(own(), new LeaseSet()), 0);
    assertEquals(lab.takeChanges(), []);
    assertEquals(network.status().peers, 0);
    assertEquals([...network.status().routeTables!], [[lab.table, "active"]]);
  }],

  [
    "sync() redirects a route of a predecessor to this machine, and touches no other route",
    async (context) => {
      const { subject, lab, host, other, prepare } = context;
      for (const route of [OWN, "10.20.2.0/24", "10.30.0.0/24"]) await lab.addRoute(route, other);
      // An operator's, by its length.
      await lab.addRoute("10.20.200.7/32", host);
      const network = await prepare(host);
      await network.sync(own(), new LeaseSet());
      assertEquals(await lab.routes(), [
        "10.20.1.0/24 host100",
        "10.20.2.0/24 host101",
        "10.20.200.7/32 host100",
        "10.30.0.0/24 host101",
      ]);
      assertEquals(lab.takeChanges().slice(-subject.calls.replace.length), [
        ...subject.calls.replace,
      ]);
    },
  ],

  ["sync() removes routes inside the network whose machine is gone", async (context) => {
    const { lab, host, other, prepare } = context;
    const third = await lab.addMachine("host102", "172.28.128.102");
    for (const route of [OWN, "10.20.5.0/24", "10.20.64.0/20", "10.99.0.0/24"]) {
      await lab.addRoute(route, other);
    }
    await lab.addRoute("10.20.6.0/24", third);
    await lab.terminate(other);
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    assertEquals(await lab.routes(), [
      "10.20.1.0/24 host100",
      "10.20.6.0/24 host102",
      "10.99.0.0/24 host101",
    ]);
  }],

  ["sync() takes the route of a former lease away, of another network's too", async (context) => {
    const { lab, host, other, prepare } = context;
    await lab.addRoute("10.20.3.0/24", host);
    await lab.addRoute("10.50.3.0/24", host);
    await lab.addRoute("10.60.3.0/24", host);
    await lab.addRoute("10.50.4.0/24", other);
    const network = await prepare(host, { formerNetworks: [Prefix.parse("10.50.0.0/16")!] });
    await network.sync(own(), new LeaseSet());
    await network.sync(own("10.20.9.0/24"), new LeaseSet());
    assertEquals(await lab.routes(), [
      "10.20.9.0/24 host100",
      "10.50.4.0/24 host101",
      "10.60.3.0/24 host100",
    ]);
  }],

  ["sync() goes on through throttling and failures of the provider", async (context) => {
    const { lab, host, prepare } = context;
    const network = await prepare(host);
    lab.break(1);
    lab.throttle(2);
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(await lab.routes(), [`${OWN} host100`]);
  }],

  [
    "sync() reports a forbidden call and its object once, and run() goes on when it is permitted",
    async (context) => {
      const { subject, lab, host, log, prepare } = context;
      const network = await prepare(host, { options: { RepairPeriod: 1 } });
      lab.denyCreate();
      // Nothing that passes by itself, so nothing to be tried every few seconds.
      assertEquals(await network.sync(own(), new LeaseSet()), 0);
      assertEquals(await network.sync(own(), new LeaseSet()), 0);
      const lines = log.filter((line) => line.startsWith("W"));
      assertEquals(lines.length, 1, lines.join("\n"));
      assertMatch(lines[0]!, subject.denied);
      assertMatch(network.status().routeTables!.get(lab.table)!, subject.denied);
      lab.heal();
      await running(
        network,
        async () => await until(async () => (await lab.routes()).length === 1),
      );
      assertEquals(await lab.routes(), [`${OWN} host100`]);
      assertEquals(network.status().routeTables!.get(lab.table), "active");
    },
  ],

  ["sync() changes nothing while the tables cannot be read, and reports that", async (context) => {
    const { lab, host, log, prepare } = context;
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    lab.takeChanges();
    lab.denyRead();
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(await network.sync(own(), new LeaseSet()), 0);
    assertEquals(
      log.filter((line) => line.includes("cannot read the provider's route tables")).length,
      1,
    );
    assert(network.status().failure !== undefined);
    lab.heal();
    await network.sync(own(), new LeaseSet());
    assertEquals(network.status().failure, undefined);
    assertEquals(lab.takeChanges(), []);
  }],

  ["sync() ends at once when the agent does", async ({ lab, host, prepare }) => {
    const ending = new AbortController();
    const network = await prepare(host, { signal: ending.signal });
    lab.throttle(Infinity);
    const syncing = network.sync(own(), new LeaseSet());
    setTimeout(() => ending.abort(new Error("the end")), 300);
    const start = performance.now();
    const error = await syncing.then(() => undefined, (error) => error);
    assertEquals(error?.message, "the end");
    assert(performance.now() - start < 3000);
  }],

  ["run() has a route that somebody took or bent put right", async (context) => {
    const { lab, host, other, prepare } = context;
    const network = await prepare(host, { options: { RepairPeriod: 1 } });
    await network.sync(own(), new LeaseSet());
    const damages: string[] = [];
    await running(network, async () => {
      for (const bend of [false, true]) {
        damages.length = 0;
        await lab.removeRoute(OWN);
        if (bend) await lab.addRoute(OWN, other);
        await until(() => Promise.resolve(damages.length > 0));
        assertMatch(damages[0]!, bend ? /- route .*, \+ route / : /^\+ route 10\.20\.1\.0\/24 in /);
        await network.sync(own(), new LeaseSet());
      }
    }, (what) => damages.push(what));
    assertEquals(await lab.routes(), [`${OWN} host100`]);
  }],

  ["sync() in a dry run returns its changes, and makes none", async (context) => {
    const { lab, host, other, prepare } = context;
    await lab.addRoute(OWN, other);
    await lab.addRoute("10.20.7.0/24", host);
    const network = await prepare(host, { isDryRun: true });
    await network.sync(own(), new LeaseSet());
    const lines = network.planned!().map(({ sign, text }) => `${sign} ${text}`);
    const inTable = ` in ${lab.table} to `;
    assertEquals(lines.filter((line) => line.includes(" route ")), [
      `- route 10.20.7.0/24${inTable}${host.target}`,
      `- route ${OWN}${inTable}${other.target}`,
      `+ route ${OWN}${inTable}${host.target}`,
    ]);
    assertEquals(lab.takeChanges(), []);
  }],

  ["remove() and release() remove all routes of flanneld, and no others", async (context) => {
    const { lab, host, other, prepare, backend, subject } = context;
    await lab.addRoute("10.20.2.0/24", other);
    const network = await prepare(host);
    await network.sync(own(), new LeaseSet());
    lab.takeChanges();
    await network.close();
    await network.remove();
    assertEquals(await lab.routes(), ["10.20.2.0/24 host101"]);
    assertEquals(lab.takeChanges(), [...subject.calls.remove]);

    await lab.addRoute(OWN, host);
    const { config, external, formerNetworks } = await context.context(host);
    const signal = AbortSignal.timeout(10_000);
    const found = await withEnv(
      host.env,
      async () => await (await backend()).release!({ config, external, formerNetworks, signal }),
    );
    assertEquals(found.map(({ what }) => what), [`route ${OWN} in ${lab.table} to ${host.target}`]);
    await found[0]!.remove();
    assertEquals(await lab.routes(), ["10.20.2.0/24 host101"]);
    // Gone already is fine.
    await found[0]!.remove();
  }],

  ["check() finds what is missing and what is not allowed", async (context) => {
    const { lab, host, backend, prepare } = context;
    const look = async () => {
      const given = await context.context(host);
      return await withEnv(
        host.env,
        async () => await (await backend()).check!(given, Prefix.parse(OWN)),
      );
    };
    assertEquals((await look()).map(({ state }) => state).includes("warning"), true);
    await (await prepare(host)).sync(own(), new LeaseSet());
    const found = await look();
    assertEquals(found.map(({ state }) => state), ["ok"]);
    assertMatch(found[0]!.text, new RegExp(`this machine is ${host.target};.*${lab.table}`));
    lab.denyRead();
    assertEquals((await look()).map(({ state }) => state), ["failed"]);
  }],
];

/** Registers the cases that every provider's backend passes, as tests named after the backend. */
export function providerCases(subject: CloudSubject): void {
  for (const [sentence, run] of CASES) cloudTest(subject, sentence, run);
}

/** Registers one case, of one provider alone. */
export function cloudTest(
  subject: CloudSubject,
  sentence: string,
  run: (context: CloudCase) => Promise<void>,
): void {
  Deno.test(`${subject.type}: ${sentence}`, async () => {
    using log = captureLog();
    await using lab = await subject.start();
    await using networks = new AsyncDisposableStack();
    // Routes of this machine are read, and not changed.
    const netlink = networks.use(DryRunNetlink.open());
    const host = await lab.addMachine("host100", "172.28.128.100");
    const other = await lab.addMachine("host101", "172.28.128.101");
    const backend = () => loadBackend(subject.type);
    const context = (machine: CloudMachine, options: CaseOptions = {}) =>
      contextOf(subject.type, machine, netlink, options);
    const prepare = async (machine: CloudMachine, options: CaseOptions = {}) => {
      const given = await context(machine, options);
      const network = await withEnv(
        { ...machine.env, ...options.env },
        async () => await (await backend()).prepare(given),
      );
      networks.defer(() => network.close());
      return network;
    };
    await run({ subject, lab, host, other, log: log.lines, prepare, context, backend });
    const text = log.lines.join("\n");
    for (const secret of lab.secrets) assert(!text.includes(secret), `a secret is shown:\n${text}`);
  });
}

async function contextOf(
  type: string,
  { address }: CloudMachine,
  netlink: Netlink,
  { options = {}, formerNetworks = [], signal, isDryRun = false }: CaseOptions,
): Promise<BackendContext> {
  const config = { Network: "10.20.0.0/16", Backend: { Type: type, ...options } };
  const local = parseIPv4(address)!;
  return {
    config: await decodeNetworkConfig(JSON.stringify(config)),
    external: { name: "eth1", index: 2, mtu: 8900, address: local, publicIP: local },
    netlink,
    formerNetworks,
    ...(signal === undefined ? {} : { signal }),
    ...(isDryRun ? { dryRun: { makeLink: () => undefined as never } } : {}),
  };
}

/** Runs `body` with variables in the environment of this process. */
export async function withEnv<T>(
  env: Readonly<Record<string, string>>,
  body: () => Promise<T>,
): Promise<T> {
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  try {
    return await body();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

/** Runs `body` while a network watches. */
async function running(
  network: Network,
  body: () => Promise<void>,
  repair: (what: string) => void = () => {},
): Promise<void> {
  const ending = new AbortController();
  const watching = network.run(ending.signal, repair);
  try {
    await body();
  } finally {
    ending.abort();
    await watching;
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000;
  while (!await condition()) {
    if (Date.now() > end) throw new Error("not within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
