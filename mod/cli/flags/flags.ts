/**
 * All flags of the agent: those of flannel 0.7.1, those of newer flannel that concern etcd, interfaces, health and
 * the firewall, and flanneld's own.
 *
 * @module
 */

import type { FlagDefinition } from "./flag_definition.ts";
import type { FlagKind, FlagValue } from "./flag_syntax.ts";

const KUBERNETES = "the Kubernetes subnet manager";

/** In the order of the help text. */
export const FLAGS = [
  {
    name: "store",
    kind: "string",
    default: "etcd",
    group: "store",
    placeholder: "store",
    help: "store of the network's config and leases: etcd, or embedded[=PATH], a file of this " +
      "host, by default /var/lib/flannel/leases.db",
  },
  {
    name: "network",
    kind: "string",
    default: "",
    group: "store",
    placeholder: "cidr",
    help:
      "with -store embedded: the container network, such as 10.20.0.0/16, for the config that " +
      "is written at the first start",
  },
  {
    name: "subnet-len",
    kind: "int",
    default: 0,
    group: "store",
    placeholder: "bits",
    range: [0, 30],
    help: "with -network: prefix length of each host's subnet; 0 takes the config's default",
  },
  {
    name: "backend",
    kind: "string",
    default: "",
    group: "store",
    placeholder: "type",
    help: "with -network: vxlan, host-gw, udp or another backend's type, or the config's Backend " +
      "object in JSON",
  },
  {
    name: "etcd-endpoints",
    kind: "string",
    default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    group: "etcd",
    placeholder: "urls",
    help: "comma-separated list of etcd client URLs",
  },
  {
    name: "etcd-prefix",
    kind: "string",
    default: "/coreos.com/network",
    group: "etcd",
    placeholder: "path",
    help: "directory that holds the network's config and subnets",
  },
  {
    name: "etcd-api",
    kind: "string",
    default: "auto",
    group: "etcd",
    placeholder: "version",
    choices: ["auto", "v2", "v3"],
    help: "which of etcd's two stores to use; auto chooses the store that holds the config",
  },
  {
    name: "etcd-cafile",
    kind: "string",
    default: "",
    group: "etcd",
    placeholder: "file",
    help: "PEM file of the certificate authority that signed etcd's certificate",
  },
  {
    name: "etcd-certfile",
    kind: "string",
    default: "",
    group: "etcd",
    placeholder: "file",
    help: "PEM file of the client certificate; needs -etcd-keyfile",
  },
  {
    name: "etcd-keyfile",
    kind: "string",
    default: "",
    group: "etcd",
    placeholder: "file",
    help: "PEM file of the client certificate's key",
  },
  {
    name: "etcd-username",
    kind: "string",
    default: "",
    group: "etcd",
    placeholder: "name",
    help: "user to authenticate as",
  },
  {
    name: "etcd-password",
    kind: "string",
    default: "",
    group: "etcd",
    secret: true,
    placeholder: "password",
    help: "password of that user; set it in the environment, where ps does not show it",
  },

  {
    name: "listen",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "address",
    help:
      "serve the store's leases to other hosts on host:port, or on a socket of systemd's: fd:// " +
      "or fd://N; takes a lease for this host only with -store embedded",
  },
  {
    name: "listen-allow-unauthenticated",
    kind: "bool",
    default: false,
    group: "client and server",
    help:
      "serve every client that reaches the port: it reads the config and all leases, and writes the " +
      "lease of its address; -listen needs this, -remote-token-file or -remote-cafile",
  },
  {
    name: "remote",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "host:port",
    help:
      "take the lease from the flanneld -listen there, not from a store; of a comma-separated " +
      "list, the first server that answers",
  },
  {
    name: "remote-cafile",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "file",
    help:
      "PEM file of the certificate authority that signed the server's certificate; with -listen, " +
      "of the one that signed the clients', which then need one",
  },
  {
    name: "remote-certfile",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "file",
    help: "PEM file of this host's certificate, as client or with -listen as server",
  },
  {
    name: "remote-keyfile",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "file",
    help: "PEM file of that certificate's key",
  },
  {
    name: "remote-token-file",
    kind: "string",
    default: "",
    group: "client and server",
    placeholder: "file",
    help:
      "file of mode 0600 with a token that server and clients share; with -listen, a client without " +
      "it is not served",
  },

  {
    name: "iface",
    kind: "string",
    default: "",
    group: "interface",
    placeholder: "name-or-ip",
    repeatable: true,
    help:
      "name or IPv4 address of the interface to reach the other hosts by; given several times, " +
      "the first usable one",
  },
  {
    name: "iface-regex",
    kind: "string",
    default: "",
    group: "interface",
    placeholder: "regexp",
    repeatable: true,
    help: "regular expression for the address or name of that interface, tried after -iface; " +
      "may be given several times",
  },
  {
    name: "iface-can-reach",
    kind: "string",
    default: "",
    group: "interface",
    placeholder: "ip",
    help: "use the interface of the kernel's route to this address",
  },
  {
    name: "public-ip",
    kind: "string",
    default: "",
    group: "interface",
    placeholder: "ip",
    help: "address the other hosts send to, where it is not the interface's own",
  },
  {
    name: "allowed-networks",
    kind: "string",
    default: "",
    group: "interface",
    placeholder: "cidrs",
    help:
      "comma-separated ranges that the network may be in besides private ranges (RFC 1918, RFC 6598)",
  },

  {
    name: "subnet-lease-renew-margin",
    kind: "int",
    default: 60,
    group: "lease and files",
    placeholder: "minutes",
    range: [1, 1439],
    unit: "minutes",
    help: "renew the lease this many minutes before it runs out",
  },
  {
    name: "subnet-file",
    kind: "string",
    default: "/run/flannel/subnet.env",
    group: "lease and files",
    placeholder: "file",
    help: "file to write the leased subnet to, for Docker and CNI",
  },
  {
    name: "on-subnet-change",
    kind: "string",
    default: "",
    group: "lease and files",
    // A word of the command may be a token.
    secret: true,
    placeholder: "command",
    help:
      "program and arguments to run, without a shell, after that file has got another subnet: " +
      "to restart Docker",
  },
  {
    name: "docker-plugin",
    kind: "bool",
    default: false,
    group: "lease and files",
    help: "serve Docker's networks, as docker network create -d flannel --ipam-driver flannel " +
      "makes them; dockerd then takes no --bip",
  },

  {
    name: "networks",
    kind: "string",
    default: "",
    group: "several networks",
    placeholder: "names",
    help:
      "comma-separated names of networks to serve, each from its own config below the store's " +
      "prefix",
  },
  {
    name: "watch-networks",
    kind: "bool",
    default: false,
    group: "several networks",
    help:
      "serve every network in the store, up to 100, as they come and go; with -networks only those",
  },
  {
    name: "subnet-dir",
    kind: "string",
    default: "/run/flannel/networks",
    group: "several networks",
    placeholder: "dir",
    help: "directory to write each network's leased subnet to, as NETWORK.env",
  },

  {
    name: "firewall",
    kind: "string",
    default: "auto",
    group: "firewall",
    placeholder: "tool",
    choices: ["auto", "iptables", "nftables"],
    help:
      "tool that makes the rules; auto chooses nftables where the network's config asks for it " +
      "or the host uses no iptables",
  },
  {
    name: "ip-masq",
    kind: "bool",
    default: false,
    group: "firewall",
    help: "masquerade traffic that leaves the network",
  },
  {
    name: "ip-masq-fully-random-disable",
    kind: "bool",
    default: false,
    group: "firewall",
    help: "masquerade without --random-fully",
  },
  {
    name: "iptables-forward-rules",
    kind: "bool",
    default: true,
    group: "firewall",
    help: "accept forwarded traffic from and to the network",
  },
  {
    name: "docker-rules",
    kind: "string",
    default: "auto",
    group: "firewall",
    placeholder: "mode",
    choices: ["auto", "off"],
    help:
      "accept packets from peers in Docker's own chains, which drop the packets in Docker 28 and newer",
  },
  {
    name: "iptables-resync",
    kind: "int",
    default: 5,
    group: "firewall",
    placeholder: "seconds",
    range: [1, 86400],
    unit: "seconds",
    help: "seconds between checks of the firewall rules",
  },

  {
    name: "udp-datapath",
    kind: "string",
    default: "auto",
    group: "udp backend",
    placeholder: "path",
    choices: ["auto", "kernel", "user"],
    help:
      "data path: programs in the kernel, or this process; auto chooses the kernel where it can",
  },
  {
    name: "udp-workers",
    kind: "int",
    default: 1,
    group: "udp backend",
    placeholder: "number",
    range: [1, 64],
    help: "threads that carry packets; more than one helps on hosts with more than two processors",
  },
  {
    name: "udp-strict-source",
    kind: "bool",
    default: false,
    group: "udp backend",
    help: "drop packets from other hosts whose source is outside the network too; " +
      "-udp-strict-source=false accepts them, as traffic that is routed from elsewhere; " +
      "by default, drop them while all other hosts run flanneld with -ip-masq",
  },
  {
    name: "udp-accept-any",
    kind: "bool",
    default: false,
    group: "udp backend",
    help:
      "accept packets from addresses without a lease, and packets with any source, as flannel does: " +
      "for hosts behind a NAT that rewrites their addresses; not with -udp-strict-source",
  },

  {
    name: "vxlan-tx-checksum",
    kind: "string",
    default: "auto",
    group: "vxlan backend",
    placeholder: "offload",
    choices: ["auto", "on", "off"],
    help: "checksum offload of the vxlan device; auto turns it off on kernels that compute " +
      "wrong checksums",
  },

  {
    name: "vxlan-strict-source",
    kind: "bool",
    default: false,
    group: "vxlan backend",
    help: "as -udp-strict-source for vxlan, by rules of iptables or nftables " +
      "(-iptables-forward-rules)",
  },

  {
    name: "healthz-ip",
    kind: "string",
    default: "127.0.0.1",
    group: "health",
    placeholder: "ip",
    help: "address of the health endpoint",
  },
  {
    name: "healthz-port",
    kind: "int",
    default: 0,
    group: "health",
    placeholder: "port",
    range: [0, 65535],
    help: "port of the health endpoint, of /metrics and /status; 0 means none",
  },
  {
    name: "healthz-watch-bound",
    kind: "int",
    default: 120,
    group: "health",
    placeholder: "seconds",
    range: [1, 86400],
    unit: "seconds",
    help: "/healthz fails when the agent could not follow the store for this long",
  },
  {
    name: "metrics-peers",
    kind: "int",
    default: 1000,
    group: "health",
    placeholder: "number",
    range: [0, 1000000],
    help: "number of peers with series of their own in /metrics, in the order of their subnets",
  },
  {
    name: "status-socket",
    kind: "string",
    default: "auto",
    group: "health",
    placeholder: "path",
    help: "unix socket for flanneld status; auto is flanneld.sock beside the subnet file " +
      "(blue.sock beside blue.env), none disables it",
  },

  {
    name: "v",
    kind: "int",
    default: 0,
    group: "logging",
    placeholder: "level",
    range: [0, 2147483647],
    help: "log more: 1 the path to each peer, 2 each change to the kernel and its cost",
  },
  {
    name: "log-format",
    kind: "string",
    default: "auto",
    group: "logging",
    placeholder: "format",
    choices: ["auto", "glog", "json", "journald"],
    help: "format of log lines; auto is glog's, with a priority before each line where standard " +
      "error is the journal",
  },
  idle("logtostderr", "bool", true, undefined, "the log always goes to standard error"),
  idle("alsologtostderr", "bool", false, undefined, "the log always goes to standard error"),
  idle("stderrthreshold", "string", "ERROR", "severity", "all messages go to standard error"),
  idle("log_dir", "string", "", "dir", "no log files are written"),
  idle("vmodule", "string", "", "pattern=level,...", "-v sets the level for the whole program"),
  idle("log_backtrace_at", "string", "", "file:line", "log lines carry no stack traces"),

  {
    name: "help",
    kind: "bool",
    default: false,
    group: "general",
    help: "print the help; -help=all describes every flag",
  },
  {
    name: "version",
    kind: "bool",
    default: false,
    group: "general",
    help: "print the version",
  },

  later("public-ipv6", "string", "", "ip", "IPv6"),
  later("ip-blackhole-route", "bool", false, undefined, "the blackhole route"),
  later("kube-subnet-mgr", "bool", false, undefined, KUBERNETES),
  later("kube-api-url", "string", "", "url", KUBERNETES),
  later("kube-annotation-prefix", "string", "flannel.alpha.coreos.com", "prefix", KUBERNETES),
  later("kubeconfig-file", "string", "", "file", KUBERNETES),
  later("net-config-path", "string", "/etc/kube-flannel/net-conf.json", "file", KUBERNETES),
  later("set-node-network-unavailable", "bool", true, undefined, KUBERNETES),
] as const satisfies readonly FlagDefinition[];

type Flag = typeof FLAGS[number];

/** Name of a flag of kind `K`. */
export type FlagName<K extends FlagKind = FlagKind> = Extract<Flag, { readonly kind: K }>["name"];

/** Name of a flag that may be given several times. */
export type RepeatableFlagName = Extract<Flag, { readonly repeatable: true }>["name"];

const BY_NAME: ReadonlyMap<string, FlagDefinition> = new Map(
  FLAGS.map((flag) => [flag.name, flag]),
);

/** The flag of that name, if there is one. */
export function flagNamed(name: string): FlagDefinition | undefined {
  return BY_NAME.get(name);
}

/** A flag of glog, accepted so that old command lines work. */
function idle<N extends string, K extends FlagKind>(
  name: N,
  kind: K,
  value: FlagValue,
  placeholder: string | undefined,
  noEffect: string,
) {
  return {
    name,
    kind,
    default: value,
    group: "logging",
    help: `accepted, without effect: ${noEffect}`,
    noEffect,
    ...(placeholder === undefined ? {} : { placeholder }),
  } as const;
}

/** A flag whose feature this program does not have. */
function later<N extends string, K extends FlagKind>(
  name: N,
  kind: K,
  value: FlagValue,
  placeholder: string | undefined,
  missing: string,
) {
  return {
    name,
    kind,
    default: value,
    group: "not there yet",
    help: `refused: ${missing} is not there yet`,
    missing,
    ...(placeholder === undefined ? {} : { placeholder }),
  } as const;
}
