/**
 * Turns settings into the agent's options: parses every URL, address and expression, so that the agent gets values
 * that it can use.
 *
 * @module
 */

import type { AgentOptions, InterfaceOptions, NetworksOptions } from "../../agent/core/options.ts";
import type { FirewallMode } from "../../firewall/firewall.ts";
import { type IPv4, isClassE, isGlobalUnicast, isLinkLocal, parseIPv4 } from "../../ip/ipv4.ts";
import { Prefix } from "../../ip/prefix.ts";
import { type FlagName, flagNamed } from "./flags.ts";
import type { Settings } from "./settings.ts";
import { isNetworkName } from "../../store/network_name.ts";
import { listenOptions } from "./remote_options.ts";
import { storeOptions } from "./store_options.ts";
import { isDirectory, isFilePath, present } from "./values.ts";
import { defaultSocketPath } from "../commands/status_socket.ts";
import { splitWords } from "./words.ts";

/**
 * Validates all settings of the agent.
 *
 * @throws {UsageError} at the first value that cannot be used
 */
export function agentOptions(settings: Settings): AgentOptions {
  return {
    store: storeOptions(settings),
    ...present("listen", listenOptions(settings)),
    interface: interfaceOptions(settings),
    allowedNetworks: allowedNetworks(settings),
    subnetFile: subnetFile(settings),
    ...present("networks", networksOptions(settings)),
    ...present("onSubnetChange", command(settings, "on-subnet-change")),
    renewMargin: settings.int("subnet-lease-renew-margin") * 60,
    firewall: settings.text("firewall") as FirewallMode,
    ipMasq: settings.bool("ip-masq"),
    forwardRules: settings.bool("iptables-forward-rules"),
    dockerRules: settings.text("docker-rules") === "auto",
    dockerPlugin: settings.bool("docker-plugin"),
    iptablesResync: settings.int("iptables-resync"),
    masqRandomFullyDisable: settings.bool("ip-masq-fully-random-disable"),
    udp: udpOptions(settings),
    vxlan: {
      txChecksum: settings.text("vxlan-tx-checksum") as "auto" | "on" | "off",
      ...present("strictSource", settings.optionalBool("vxlan-strict-source")),
    },
    healthz: { ip: listenAddress(settings, "healthz-ip"), port: settings.int("healthz-port") },
    status: {
      ...present("socket", socketPath(settings)),
      watchBound: settings.int("healthz-watch-bound"),
      metricsPeers: settings.int("metrics-peers"),
    },
  };
}

/** Options without effect, or with an effect that is probably not intended: one line each, for the log. */
export function idleOptions(
  { store: etcd, networks, subnetFile, vxlan, forwardRules, ipMasq, dockerPlugin }: AgentOptions,
): string[] {
  const lines: string[] = [];
  if (vxlan.strictSource && !forwardRules) {
    lines.push("flag -vxlan-strict-source has no effect with -iptables-forward-rules=false");
  }
  if (dockerPlugin && !ipMasq) {
    lines.push(
      "flag -docker-plugin without -ip-masq: containers of flannel networks reach no address " +
        "outside the network",
    );
  }
  // A warning, not an error: flannel 0.7.1 takes both without a message.
  if (networks !== undefined && subnetFile !== flagNamed("subnet-file")!.default) {
    lines.push(
      `flag -subnet-file=${subnetFile} is for one network: of several each has its own file in ` +
        `${networks.directory} (-subnet-dir)`,
    );
  }
  if (etcd.kind === "embedded" && etcd.seed !== undefined && networks !== undefined) {
    // Several networks cannot have one range.
    if (networks.allowed.length !== 1) {
      lines.push("flag -network has no effect unless -networks names one network alone");
    }
  }
  if (etcd.kind !== "etcd") return lines;
  const [, directory] = /^(.+)\/config$/.exec(etcd.prefix) ?? [];
  if (directory !== undefined) {
    lines.push(
      `flag -etcd-prefix=${etcd.prefix} has the config at ${etcd.prefix}/config: for a config at ` +
        `${etcd.prefix} give -etcd-prefix=${directory}`,
    );
  }
  if (etcd.password !== undefined && etcd.username === undefined) {
    lines.push("flag -etcd-password has no effect without -etcd-username");
  }
  const tls = etcd.caFile ?? etcd.certFile;
  if (tls !== undefined && !etcd.endpoints.some((url) => url.startsWith("https:"))) {
    lines.push(`file ${tls} has no effect: no URL of -etcd-endpoints begins with https://`);
  }
  return lines;
}

/** Options of several networks; `undefined` for one network. */
function networksOptions(settings: Settings): NetworksOptions | undefined {
  const text = settings.text("networks");
  const watch = settings.bool("watch-networks");
  const allowed = text.trim() === ""
    ? []
    : [...new Set(text.split(",").map((name) => name.trim()))];
  if (allowed.length === 0 && !watch) return undefined;
  if (allowed.includes("")) {
    throw settings.invalid(
      "networks",
      text,
      "a name is missing before or behind a comma: expected names with a comma between two",
    );
  }
  const bad = allowed.find((name) => !isNetworkName(name));
  if (bad !== undefined) {
    throw settings.invalid(
      "networks",
      text,
      `${JSON.stringify(bad)} cannot name a network: expected letters, digits and . _ ~ -`,
    );
  }
  const given = settings.text("subnet-dir");
  const directory = given.replace(/\/+$/, "");
  if (!isFilePath(directory)) {
    throw settings.invalid(
      "subnet-dir",
      given,
      "expected the path of a directory, such as /run/flannel/networks",
    );
  }
  return { allowed, watch, directory };
}

/** @throws {UsageError} when both -udp-strict-source and -udp-accept-any are given */
function udpOptions(settings: Settings): AgentOptions["udp"] {
  const strictSource = settings.optionalBool("udp-strict-source");
  const acceptAny = settings.bool("udp-accept-any");
  if (strictSource && acceptAny) {
    const why = "-udp-accept-any takes packets with any source: give one of the two";
    throw settings.invalid("udp-strict-source", "true", why);
  }
  return {
    datapath: settings.text("udp-datapath") as "auto" | "kernel" | "user",
    workers: settings.int("udp-workers"),
    ...present("strictSource", strictSource),
    acceptAny,
  };
}

function interfaceOptions(settings: Settings): InterfaceOptions {
  return {
    ifaces: settings.list("iface").map((text) => {
      if (isIPv6(text)) throw settings.invalid("iface", text, noIPv6("an IPv4 address or a name"));
      return text;
    }),
    regexes: settings.list("iface-regex").map((text) => {
      try {
        // By this flag JavaScript refuses what Go reads in another way, such as \A and [[:alpha:]].
        return new RegExp(text, "u");
      } catch (cause) {
        const { message } = cause as SyntaxError;
        throw settings.invalid(
          "iface-regex",
          text,
          // V8 repeats the expression before the reason.
          `not a regular expression: ${message.replace(/^.*: /s, "").toLowerCase()}; ` +
            "expected JavaScript's syntax, for example ^eth[0-9]+$ or (?i:eth)1",
        );
      }
    }),
    ...present("canReach", hostAddress(settings, "iface-can-reach")),
    ...present("publicIP", hostAddress(settings, "public-ip")),
  };
}

/** Ranges of `-allowed-networks`. */
function allowedNetworks(settings: Settings): Prefix[] {
  const text = settings.text("allowed-networks");
  if (text.trim() === "") return [];
  return text.split(",").map((word) => {
    const range = Prefix.parse(word.trim());
    if (range !== undefined) return range;
    throw settings.invalid(
      "allowed-networks",
      text,
      `${JSON.stringify(word.trim())} is no range: expected for example 198.18.0.0/15`,
    );
  });
}

/** Address by which other hosts reach a host. */
function hostAddress(settings: Settings, name: FlagName<"string">): IPv4 | undefined {
  const text = settings.optional(name);
  if (text === undefined) return undefined;
  const example = "an IPv4 address such as 172.28.128.101";
  if (isIPv6(text)) throw settings.invalid(name, text, noIPv6(example));
  const address = parseIPv4(text);
  if (address === undefined) throw settings.invalid(name, text, `expected ${example}`);
  if ((!isGlobalUnicast(address) && !isLinkLocal(address)) || isClassE(address)) {
    throw settings.invalid(name, text, `no host can have this address: expected ${example}`);
  }
  return address;
}

function listenAddress(settings: Settings, name: FlagName<"string">): string {
  const text = settings.text(name);
  if (parseIPv4(text) !== undefined || isIPv6(text)) return text;
  throw settings.invalid(name, text, "expected an address of this host, 127.0.0.1 or 0.0.0.0");
}

/** Words of a command line, split as systemd does; no shell is involved. */
function command(
  settings: Settings,
  name: FlagName<"string">,
): readonly [string, ...string[]] | undefined {
  const text = settings.text(name);
  const [program, ...args] = splitWords(text);
  if (program === undefined) return undefined;
  if (program !== "" && !text.includes("\0")) return [program, ...args];
  throw settings.invalid(name, text, "expected a program and its arguments");
}

/** Path of the unix socket; `undefined` for none. */
function socketPath(settings: Settings): string | undefined {
  switch (settings.text("status-socket")) {
    case "none":
      return undefined;
    case "auto":
      return defaultSocketPath(subnetFile(settings));
    default: {
      const expected = "auto, none or a path such as /run/flanneld.sock";
      const path = filePath(settings, "status-socket", expected);
      // `flanneld status` runs in another directory than the agent.
      if (path.startsWith("/")) return path;
      throw settings.invalid("status-socket", path, `expected ${expected}`);
    }
  }
}

/** Path of the subnet file: absolute, because Docker and the next start run in other directories. */
function subnetFile(settings: Settings): string {
  const name = "subnet-file";
  const path = filePath(settings, name);
  if (!path.startsWith("/")) {
    throw settings.invalid(name, path, "expected a path that begins with /");
  }
  if (isDirectory(path)) {
    throw settings.invalid(name, path, `it is a directory: expected ${path}/subnet.env`);
  }
  return path;
}

function filePath(
  settings: Settings,
  name: FlagName<"string">,
  expected = "the path of a file, such as /run/flannel/subnet.env",
): string {
  const text = settings.text(name);
  if (isFilePath(text)) return text;
  throw settings.invalid(name, text, `expected ${expected}`);
}

function isIPv6(text: string): boolean {
  return text.includes(":") && URL.canParse(`http://[${text}]/`);
}

function noIPv6(instead: string): string {
  return `IPv6 is not there yet: expected ${instead}`;
}
