import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { publishOptions } from "../../agent/host/published_options.ts";
import type { NetworksOptions } from "../../agent/core/options.ts";
import { UsageError } from "../errors.ts";
import { etcdOf } from "../testing/options_lab.ts";
import { agentCommand, parseAgentFlags } from "../flags/agent_flags.ts";
import {
  agentOfHost,
  type AgentOfHostOptions,
  type HostPaths,
  publishedBy,
} from "./agent_of_host.ts";

/** A host's directory of options and its sysconfig file, in a directory of the test's own. */
class Host implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly paths: Required<HostPaths>;

  private constructor(directory: string) {
    this.paths = {
      sysconfig: `${directory}/sysconfig`,
      options: `${directory}/run/options`,
      socketOf: () => `${directory}/none.sock`,
    };
    this.#stack.defer(() => Deno.remove(directory, { recursive: true }));
  }

  static async make(): Promise<Host> {
    return new Host(await Deno.makeTempDir({ prefix: "flanneld" }));
  }

  async writeSysconfig(text: string, mode = 0o600): Promise<void> {
    await Deno.writeTextFile(this.paths.sysconfig, text);
    await Deno.chmod(this.paths.sysconfig, mode);
  }

  /** Publishes the options of an agent. @returns what ends the agent */
  async startAgent(
    args: readonly string[],
    environment: Record<string, string> = {},
  ): Promise<Disposable> {
    const { options, settings } = agentCommand(parseAgentFlags(args).flags, environment);
    const published = await publishedBy(settings, this.paths.sysconfig);
    return this.#stack.use(await publishOptions(options, published, this.paths.options));
  }

  async command(
    args: readonly string[],
    environment: Record<string, string> = {},
    options: AgentOfHostOptions = {},
  ) {
    return await agentOfHost(parseAgentFlags(args).flags, environment, {
      paths: this.paths,
      ...options,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Flags that no other test's agent and no agent of this machine has. */
const PLACE = ["-subnet-file=/run/flanneld-test/subnet.env"];

Deno.test("agentOfHost() takes every option of the agent, running or stopped", async () => {
  await using host = await Host.make();
  const args = [
    ...["-etcd-endpoints=http://a:1,http://b:2", "-etcd-prefix=/x/y", "-etcd-api=v3"],
    ...["-iface=eth1", "-iface=eth2", "-iface-regex=^e", "-public-ip=203.0.113.9", "-ip-masq"],
    ...["-subnet-file=/run/flanneld-test/a.env", "-allowed-networks=198.18.0.0/15"],
    ...["-udp-strict-source=false", "-vxlan-tx-checksum=off", "-firewall=nftables"],
    ...["-iptables-forward-rules=false", "-docker-rules=off", "-healthz-port=80"],
  ];
  const agent = await host.startAgent(args, { FLANNELD_METRICS_PEERS: "7" });
  const expected = agentCommand(parseAgentFlags([...args, "-metrics-peers=7"]).flags, {}).options;
  for (let isRunning = true;; isRunning = false) {
    const { options, warnings } = await host.command([]);
    assertEquals(options, expected);
    assertEquals(warnings, []);
    if (!isRunning) break;
    agent[Symbol.dispose]();
  }
});

Deno.test("agentOfHost() leaves a flag undecided that the agent was not given", async () => {
  await using host = await Host.make();
  await host.startAgent(PLACE);
  const { options } = await host.command([]);
  assertEquals([options.udp.strictSource, options.vxlan.strictSource], [undefined, undefined]);
  assertEquals(options.interface.ifaces, []);
});

Deno.test("agentOfHost() prefers the command line and the environment, and names what differs in one line", async () => {
  await using host = await Host.make();
  await host.startAgent([...PLACE, "-etcd-prefix=/x", "-iface=eth1", "-ip-masq"]);
  const { options, warnings } = await host.command(
    ["-ip-masq=false", "-iface=eth1", "-v=1", "-udp-strict-source"],
    { FLANNELD_ETCD_PREFIX: "/y" },
  );
  assertEquals([options.ipMasq, etcdOf(options).prefix], [false, "/y"]);
  assertEquals(warnings, [
    "using other options than the agent's: -etcd-prefix=/y (the agent: -etcd-prefix=/x), " +
    "-ip-masq=false (the agent: -ip-masq=true), -udp-strict-source=true (the agent: not given)",
  ]);
});

Deno.test("agentOfHost() never publishes a secret, and reads it where the agent does", async () => {
  await using host = await Host.make();
  const login = [...PLACE, "-etcd-username=root"];
  await host.startAgent(
    [...login, "-on-subnet-change=/bin/hook s3cret-token"],
    { FLANNELD_ETCD_PASSWORD: "s3cret" },
  );
  for await (const { name } of Deno.readDir(host.paths.options)) {
    const text = await Deno.readTextFile(`${host.paths.options}/${name}`);
    assert(!text.includes("s3cret"), text);
  }
  const without = await host.command([]);
  assertEquals(without.warnings, [
    `the agent has a password for etcd's user "root", which it does not publish: set ` +
    "FLANNELD_ETCD_PASSWORD or give -etcd-password",
  ]);
  for (
    const [args, environment] of [[["-etcd-password=x"], {}], [[], {
      FLANNELD_ETCD_PASSWORD: "x",
    }]] as const
  ) {
    const { options, warnings } = await host.command(args, environment);
    assertEquals([etcdOf(options).username, etcdOf(options).password], ["root", "x"]);
    assertEquals(warnings, []);
  }
  await host.writeSysconfig("FLANNELD_ETCD_PASSWORD=of-the-file\nFLANNELD_IFACE=eth7\n");
  const { options, warnings } = await host.command([]);
  assertEquals([etcdOf(options).password, options.interface.ifaces], ["of-the-file", []]);
  assertEquals(warnings, []);
  // Another store needs none of it.
  assertEquals((await host.command(["-store=embedded"])).warnings.length, 1);
});

Deno.test("agentOfHost() takes the present credentials of the file that the agent was started from", async () => {
  await using host = await Host.make();
  const line = `FLANNEL_OPTIONS="${PLACE[0]} -remote=a:1"\n`;
  await host.writeSysconfig(line);
  await host.startAgent([...PLACE, "-remote=a:1"]);
  await host.writeSysconfig(`${line}FLANNELD_REMOTE_TOKEN_FILE=/token\n`);
  const { options: { store }, warnings } = await host.command([]);
  assertEquals([store.kind === "remote" && store.tokenFile, warnings], ["/token", []]);
  const given = await host.command(["-remote-token-file=/other"]);
  assertEquals(given.options.store, { ...store, tokenFile: "/other" });
});

Deno.test("agentOfHost() hides a backend with a key, and not its type", async () => {
  await using host = await Host.make();
  const store = [...PLACE, "-store=embedded=/x.db", "-network=10.20.0.0/16"];
  const seed = async () => {
    const { options: { store } } = await host.command([]);
    return store.kind === "embedded" ? store.seed : undefined;
  };
  await host.startAgent([...store, "-backend=host-gw"]).then((agent) => agent[Symbol.dispose]());
  assertEquals(await seed(), '{"Network":"10.20.0.0/16","Backend":{"Type":"host-gw"}}');
  await host.startAgent([...store, '-backend={"Type":"gce","Key":"s3cret"}']);
  assertEquals(await seed(), '{"Network":"10.20.0.0/16"}');
});

Deno.test("agentOfHost() takes the store that is given, with none of the agent's flags against it", async () => {
  await using host = await Host.make();
  const remote = await host.startAgent([...PLACE, "-remote=a:1", "-remote-token-file=/t"]);
  const kinds = async (...args: string[]) => (await host.command(args)).options.store.kind;
  assertEquals(await kinds(), "remote");
  assertEquals(await kinds("-remote=b:2"), "remote");
  assertEquals(await kinds("-store=embedded"), "embedded");
  assertEquals(await kinds("-etcd-endpoints=http://a:1"), "etcd");
  remote[Symbol.dispose]();
  const own = ["-store=embedded", "-network=10.20.0.0/16", "-listen=:8888"];
  await host.startAgent([...PLACE, ...own, "-listen-allow-unauthenticated"]);
  assertEquals(await kinds(), "embedded");
  assertEquals(await kinds("-remote=b:2"), "remote");
  assertEquals(await kinds("-etcd-endpoints=http://a:1"), "etcd");
  const { options } = await host.command(["-udp-accept-any"]);
  assertEquals(options.udp.acceptAny, true);
  // The next start asks for a token.
  await host.writeSysconfig("FLANNELD_REMOTE_TOKEN_FILE=/token\n");
  assertEquals(await kinds(), "embedded");
});

Deno.test("agentOfHost() takes the sysconfig file for the next start, unless a command is about the last run", async () => {
  await using host = await Host.make();
  const prefix = async (options?: AgentOfHostOptions, args: readonly string[] = []) => {
    const command = await host.command(args, {}, options);
    return [etcdOf(command.options).prefix, ...command.warnings];
  };
  const line = 'FLANNEL_OPTIONS="-subnet-file=/run/flanneld-test/subnet.env"\n';
  await host.writeSysconfig(`${line}FLANNEL_ETCD_PREFIX=/x\n`);
  assertEquals(await prefix(), ["/x"]);
  const agent = await host.startAgent([...PLACE, "-etcd-prefix=/x"]);
  assertEquals(await prefix(), ["/x"]);
  await host.writeSysconfig(`${line}FLANNEL_ETCD_PREFIX=/y\n`);
  assertEquals(await prefix(), [
    "/x",
    `${host.paths.sysconfig} has changed since the agent started: -etcd-prefix=/y (the agent: ` +
    "-etcd-prefix=/x); using the agent's options until it is restarted",
  ]);
  assertEquals(await prefix({ sysconfig: host.paths.sysconfig }), ["/y"]);
  agent[Symbol.dispose]();
  assertEquals(await prefix(), ["/y"]);
  assertEquals(await prefix({ isAboutLastRun: true }), ["/x"]);
  await Deno.remove(host.paths.sysconfig);
  assertEquals(await prefix(), ["/x"]);
});

Deno.test("agentOfHost() keeps the options of a stopped agent that another source started than the sysconfig file", async () => {
  await using host = await Host.make();
  await host.writeSysconfig("FLANNEL_ETCD_PREFIX=/of-the-package\n");
  (await host.startAgent([...PLACE, "-etcd-prefix=/x"]))[Symbol.dispose]();
  const { options, warnings } = await host.command([]);
  assertEquals([etcdOf(options).prefix, warnings], ["/x", []]);
});

Deno.test("agentOfHost() chooses among the agents of a host by their files, else by the default", async () => {
  await using host = await Host.make();
  const prefixOf = async (...args: string[]) => {
    const { options, warnings } = await host.command(args);
    return [etcdOf(options).prefix, warnings.join()];
  };
  const flag = (name: string) => `-subnet-file=/run/flanneld-test/${name}.env`;
  await host.startAgent([flag("a"), "-etcd-prefix=/a"]);
  const b = await host.startAgent([flag("b"), "-etcd-prefix=/b"]);
  assertEquals(await prefixOf(flag("a")), ["/a", ""]);
  assertEquals(await prefixOf(flag("b")), ["/b", ""]);
  // Nothing is known of a third one.
  assertEquals(await prefixOf(flag("c")), ["/coreos.com/network", ""]);
  assertEquals(await prefixOf(), [
    "/coreos.com/network",
    `2 agents on this host and none is chosen: give one of ${flag("a")}, ${flag("b")}`,
  ]);
  b[Symbol.dispose]();
  assertEquals(await prefixOf(), [
    "/a",
    `2 agents on this host: using the options of the one with ${flag("a")}; for another give ` +
    flag("b"),
  ]);
  await host.startAgent(["-networks=blue,green", "-subnet-dir=/run/n/", "-etcd-prefix=/n"]);
  assertEquals((await prefixOf("-subnet-dir=/run/n"))[0], "/n");
  assertEquals(await prefixOf("-networks=green"), ["/n", ""]);
  const { options } = await host.command(["-networks=green"]);
  const networks: NetworksOptions = { allowed: ["green"], watch: false, directory: "/run/n" };
  assertEquals(options.networks, networks);
  await host.startAgent(["-etcd-prefix=/d"]);
  const [prefix, note] = await prefixOf();
  assertEquals(prefix, "/d");
  assertMatch(
    note!,
    /^4 agents on this host: using the options of the one with -subnet-file=\/run\/flannel\/subnet\.env; /,
  );
});

Deno.test("agentOfHost() refuses a value of the agent's that this version cannot use, and skips flags it does not know", async () => {
  await using host = await Host.make();
  const { options, settings } = agentCommand(parseAgentFlags(PLACE).flags, {});
  const published = await publishedBy(settings, host.paths.sysconfig);
  const publish = async (flags: Record<string, string | number>) => {
    using _ = await publishOptions(
      options,
      { ...published, flags: { ...published.flags, ...flags } },
      host.paths.options,
    );
  };
  await publish({ "of-a-later-version": "x", "ip-masq": "yes" });
  assertEquals((await host.command([])).options.ipMasq, false);
  await publish({ "iptables-resync": 0 });
  const error = await assertRejects(() => host.command([]), UsageError);
  assertMatch(
    error.message,
    /^invalid value "0" for flag -iptables-resync from the agent's options: /,
  );
});
