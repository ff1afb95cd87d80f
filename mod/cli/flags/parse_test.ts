import { assertEquals, assertObjectMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../text/testing/character.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "../errors.ts";
import { FLAGS } from "./flags.ts";
import { type AgentCommand, parseCommandLine } from "./parse.ts";
import { etcdOf } from "../testing/options_lab.ts";
import { SUBCOMMANDS } from "../commands/subcommands.ts";

function agent(args: readonly string[], environment: Environment = {}): AgentCommand {
  const line = parseCommandLine(args, environment);
  if (line.command !== "agent") throw new Error(`not the agent but ${line.command}`);
  return line.agent;
}

function options(args: readonly string[], environment: Environment = {}): AgentOptions {
  const { options, warnings } = agent(args, environment);
  assertEquals(warnings, []);
  return options;
}

function refused(args: readonly string[], environment: Environment = {}): UsageError {
  const error = assertThrows(() => parseCommandLine(args, environment), UsageError);
  assertEquals(error.exitCode, 2);
  assertEquals(error.message.includes("\n"), false);
  return error;
}

Deno.test("parseCommandLine() gives flannel's defaults", () => {
  const { settings: _, ...command } = agent([]);
  assertEquals(command, {
    options: {
      store: {
        kind: "etcd",
        endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
        prefix: "/coreos.com/network",
        api: "auto",
      },
      interface: { ifaces: [], regexes: [] },
      allowedNetworks: [],
      subnetFile: "/run/flannel/subnet.env",
      renewMargin: 3600,
      firewall: "auto",
      ipMasq: false,
      forwardRules: true,
      dockerRules: true,
      dockerPlugin: false,
      iptablesResync: 5,
      masqRandomFullyDisable: false,
      udp: { datapath: "auto", workers: 1, acceptAny: false },
      vxlan: { txChecksum: "auto" },
      healthz: { ip: "127.0.0.1", port: 0 },
      status: { socket: "/run/flannel/flanneld.sock", watchBound: 120, metricsPeers: 1000 },
    },
    log: { format: "auto", verbosity: 0 },
    warnings: [],
  });
});

Deno.test("parseCommandLine() reads every flag of the agent", () => {
  const { options, log, warnings } = agent([
    "--etcd-endpoints=https://a:2379,https://b:2379",
    "-etcd-prefix",
    "/flannel/network",
    "-etcd-api=v2",
    "-etcd-cafile=/ca.pem",
    "-etcd-certfile=/cert.pem",
    "-etcd-keyfile=/key.pem",
    "-etcd-username=root",
    "-etcd-password=secret",
    "-iface=eth1",
    "-iface=eth2",
    "-iface-regex=^en[sp]",
    "-iface-can-reach=192.168.0.1",
    "-public-ip=203.0.113.9",
    "-allowed-networks=198.18.0.0/15, 8.8.8.8/8",
    "-subnet-lease-renew-margin=0x1e",
    "-subnet-file=/tmp/subnet.env",
    "-on-subnet-change=/sbin/restart-docker 'for good'",
    "-firewall=nftables",
    "-ip-masq",
    "-ip-masq-fully-random-disable",
    "-iptables-forward-rules=false",
    "-docker-rules=off",
    "-docker-plugin",
    "-iptables-resync=60",
    "-udp-datapath=kernel",
    "-udp-workers=2",
    "-udp-strict-source",
    "-vxlan-tx-checksum=off",
    "-vxlan-strict-source=false",
    "-healthz-ip=0.0.0.0",
    "-healthz-port=8081",
    "-healthz-watch-bound=60",
    "-metrics-peers=10",
    "-status-socket=none",
    "-log-format=json",
    "-v=2",
  ]);
  assertEquals(options, {
    store: {
      kind: "etcd",
      endpoints: ["https://a:2379", "https://b:2379"],
      prefix: "/flannel/network",
      api: "v2",
      caFile: "/ca.pem",
      certFile: "/cert.pem",
      keyFile: "/key.pem",
      username: "root",
      password: "secret",
    },
    interface: {
      ifaces: ["eth1", "eth2"],
      regexes: [/^en[sp]/u],
      canReach: parseIPv4("192.168.0.1")!,
      publicIP: parseIPv4("203.0.113.9")!,
    },
    allowedNetworks: [Prefix.parse("198.18.0.0/15")!, Prefix.parse("8.0.0.0/8")!],
    subnetFile: "/tmp/subnet.env",
    onSubnetChange: ["/sbin/restart-docker", "for good"],
    renewMargin: 30 * 60,
    firewall: "nftables",
    ipMasq: true,
    forwardRules: false,
    dockerRules: false,
    dockerPlugin: true,
    iptablesResync: 60,
    masqRandomFullyDisable: true,
    udp: { datapath: "kernel", workers: 2, strictSource: true, acceptAny: false },
    vxlan: { txChecksum: "off", strictSource: false },
    healthz: { ip: "0.0.0.0", port: 8081 },
    status: { watchBound: 60, metricsPeers: 10 },
  });
  assertEquals(log, { format: "json", verbosity: 2 });
  assertEquals(warnings, []);
});

Deno.test("parseCommandLine() refuses -udp-accept-any and -udp-strict-source together", () => {
  const why = "-udp-accept-any takes packets with any source: give one of the two";
  const pair = ["-udp-strict-source", "-udp-accept-any"];
  assertEquals(
    refused(pair).message,
    `invalid value "true" for flag -udp-strict-source: ${why}`,
  );
  assertEquals(
    refused(pair.slice(1), { FLANNELD_UDP_STRICT_SOURCE: "1" }).message,
    `invalid value "true" for flag -udp-strict-source from FLANNELD_UDP_STRICT_SOURCE: ${why}`,
  );
  assertEquals(options(pair.slice(1)).udp?.strictSource, undefined);
  assertObjectMatch(options([...pair, "-udp-strict-source=false"]), {
    udp: { strictSource: false, acceptAny: true },
  });
});

Deno.test("parseCommandLine() takes no command for no wish, and refuses one without a program", () => {
  for (const text of ["", "  "]) {
    assertEquals(options([`-on-subnet-change=${text}`]).onSubnetChange, undefined);
  }
  assertEquals(
    refused(["-on-subnet-change='' now"]).message,
    "invalid value \"'' now\" for flag -on-subnet-change: expected a program and its arguments",
  );
});

Deno.test("parseCommandLine() runs with the guide's sysconfig file and unit", () => {
  const environment = {
    FLANNEL_ETCD_ENDPOINTS: "http://172.28.128.100:2379",
    FLANNEL_ETCD_PREFIX: "/flannel/network",
    FLANNEL_OPTIONS: "-iface=eth1",
  };
  for (const args of [["-iface=eth1"], []]) {
    assertObjectMatch(options(args, environment), {
      store: {
        kind: "etcd",
        endpoints: ["http://172.28.128.100:2379"],
        prefix: "/flannel/network",
      },
      interface: { ifaces: ["eth1"] },
    });
  }
});

Deno.test("parseCommandLine() recognizes help and version before anything else is checked", () => {
  const bad = { FLANNELD_IP_MASQ: "maybe", FLANNELD_HELP: "true" };
  for (
    const args of [["-help"], ["--help"], ["-h"], ["-help=true", "-etcd-api=v9"], ["-help", "word"]]
  ) assertEquals(parseCommandLine(args, bad), { command: "help" });
  for (const args of [["-version"], ["--version"], ["-ip-masq", "-version", "-listen=x"]]) {
    assertEquals(parseCommandLine(args, bad), { command: "version" });
  }
  for (
    const args of [["-help=all"], ["--help=all"], ["-h=all"], ["-iface=x", "-help=all"], [
      "help",
      "all",
    ]]
  ) {
    assertEquals(parseCommandLine(args, {}), { command: "full help" }, args.join(" "));
  }
  assertEquals(parseCommandLine(["-help=false", "-version=0"], {}).command, "agent");
});

Deno.test("parseCommandLine() ignores help and version in the environment", () => {
  const environment = {
    FLANNELD_HELP: "true",
    FLANNELD_VERSION: "true",
    FLANNEL_OPTIONS: "-version -help",
  };
  assertEquals(parseCommandLine([], environment).command, "agent");
});

Deno.test("parseCommandLine() finds a subcommand in the first word", () => {
  const line = parseCommandLine(["docker-opts", "-x", "--"], { FLANNELD_IP_MASQ: "maybe" });
  assertObjectMatch(line, {
    command: "subcommand",
    subcommand: { name: "docker-opts" },
    args: ["-x", "--"],
  });
});

Deno.test("parseCommandLine() lists the subcommands when a word is none", () => {
  const error = refused(["docker-ops"]);
  assertEquals(
    error.message,
    `unknown subcommand "docker-ops": expected ${SUBCOMMANDS.map(({ name }) => name).join(", ")}`,
  );
  assertEquals(
    error.hint,
    "Did you mean docker-opts? Without a subcommand flanneld runs the agent; see flanneld -help.",
  );
  refused([""]);
});

Deno.test("parseCommandLine() takes help for a word, as other programs do", () => {
  for (const args of [["help"], ["help", "-h"], ["help", "--help"]]) {
    assertEquals(parseCommandLine(args, {}), { command: "help" });
  }
  assertObjectMatch(parseCommandLine(["help", "status"], {}), {
    command: "subcommand",
    subcommand: { name: "status" },
    args: ["-h"],
  });
  assertObjectMatch(parseCommandLine(["help", "config", "set"], {}), {
    subcommand: { name: "config" },
    args: ["set", "-h"],
  });
  assertEquals(refused(["help", "stauts"]).hint?.startsWith("Did you mean status?"), true);
});

Deno.test("parseCommandLine() refuses words after the flags", () => {
  const error = refused(["-v=1", "docker-opts"]);
  assertEquals(error.message, 'unexpected argument "docker-opts" after the flags');
  assertEquals(error.hint, "A subcommand comes first, before any flag; see flanneld -help.");
  assertEquals(
    refused(["-ip-masq", "False"]).hint,
    "-ip-masq takes no word after it: write -ip-masq=false.",
  );
  refused(["--", "-v=1"]);
});

Deno.test("parseCommandLine() reports a mistake in Go's words, and then in its own", () => {
  const cases: [string[], string][] = [
    [["-nosuch"], "flag provided but not defined: -nosuch"],
    [
      ["-subnet-lease-renew-margin=abc"],
      'invalid value "abc" for flag -subnet-lease-renew-margin: parse error: ' +
      "expected a whole number of minutes from 1 to 1439",
    ],
    [
      ["-subnet-lease-renew-margin", "0"],
      'invalid value "0" for flag -subnet-lease-renew-margin: value out of range: ' +
      "expected a whole number of minutes from 1 to 1439",
    ],
    [
      ["-subnet-lease-renew-margin", "1440"],
      'invalid value "1440" for flag -subnet-lease-renew-margin: value out of range: ' +
      "expected a whole number of minutes from 1 to 1439",
    ],
    [
      ["-ip-masq=yes"],
      'invalid boolean value "yes" for -ip-masq: parse error: expected true or false',
    ],
    [["-iface"], "flag needs an argument: -iface: expected name-or-ip"],
    [["---iface=x"], "bad flag syntax: ---iface=x"],
    [["-etcd-api=v4"], 'invalid value "v4" for flag -etcd-api: expected auto or v2 or v3'],
    [
      ["-healthz-port=65536"],
      'invalid value "65536" for flag -healthz-port: value out of range: ' +
      "expected a whole number from 0 to 65535",
    ],
  ];
  for (const [args, message] of cases) assertEquals(refused(args).message, message);
});

Deno.test("parseCommandLine() suggests the flag that was probably meant", () => {
  assertEquals(
    refused(["-etcd-endpoint=http://x"]).hint,
    "Did you mean -etcd-endpoints? Run 'flanneld -help' for the list of flags.",
  );
  assertEquals(refused(["-zzzz"]).hint, "Run 'flanneld -help' for the list of flags.");
});

Deno.test("parseCommandLine() keeps the last of a flag given twice", () => {
  assertEquals(etcdOf(options(["-etcd-prefix=/a", "-etcd-prefix=/b"])).prefix, "/b");
  assertEquals(options(["-ip-masq", "-ip-masq=false"]).ipMasq, false);
});

Deno.test("parseCommandLine() refuses what is not there yet, in one line", () => {
  const cases: [string[], string][] = [
    [["-public-ipv6=fd00::1"], "flag -public-ipv6 is refused: IPv6 is not there yet"],
    [
      ["-kube-subnet-mgr"],
      "flag -kube-subnet-mgr is refused: the Kubernetes subnet manager is not there yet",
    ],
  ];
  for (const [args, message] of cases) assertEquals(refused(args).message, message);
  for (const { name, kind } of FLAGS.filter(({ group }) => group === "not there yet")) {
    refused([`-${name}=${kind === "bool" ? "true" : "x"}`]);
    options([`-${name}=${kind === "bool" ? "false" : ""}`]); // asks for nothing
  }
  assertEquals(
    refused([], { FLANNELD_KUBE_SUBNET_MGR: "true" }).message,
    "flag -kube-subnet-mgr (from FLANNELD_KUBE_SUBNET_MGR) is refused: " +
      "the Kubernetes subnet manager is not there yet",
  );
});

Deno.test("parseCommandLine() accepts glog's flags and lists those without effect", () => {
  const { warnings, log } = agent([
    "-logtostderr",
    "-alsologtostderr=false",
    "-v=4",
    "-log_dir=/var/log",
    "-vmodule=network=2",
  ]);
  assertEquals(log.verbosity, 4);
  assertEquals(warnings, [
    "flag -log_dir has no effect: no log files are written",
    "flag -vmodule has no effect: -v sets the level for the whole program",
  ]);
});

Deno.test("parseCommandLine() throws nothing but UsageError, of one line", () => {
  const names = FLAGS.map(({ name }) => name);
  const text = fc.oneof(
    fc.string({ unit: CHARACTER }),
    fc.constantFrom("1", "true", "http://a:1", "10.0.0.1", "/x"),
  );
  const word = fc.oneof(
    text,
    fc.tuple(fc.constantFrom(...names), text).map(([name, value]) => `-${name}=${value}`),
    fc.constantFrom(...names).map((name) => `-${name}`),
  );
  const environment = fc.dictionary(
    fc.constantFrom(
      "FLANNELD_IFACE",
      "FLANNELD_V",
      "FLANNEL_OPTIONS",
      "FLANNELD_X",
      "FLANNEL_ETCD",
    ),
    text,
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 5 }), environment, (args, environment) => {
      try {
        parseCommandLine(args, environment);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
