import { assertEquals, assertMatch } from "@std/assert";
import { environmentName, FLAG_GROUPS, type FlagDefinition } from "./flag_definition.ts";
import { flagNamed, FLAGS } from "./flags.ts";
import { checkValue } from "./settings.ts";

const flags: readonly FlagDefinition[] = FLAGS;

Deno.test("FLAGS has every flag of flannel 0.7.1, with its default", () => {
  const defaults: Record<string, string | number | boolean> = {
    "etcd-endpoints": "http://127.0.0.1:4001,http://127.0.0.1:2379",
    "etcd-prefix": "/coreos.com/network",
    "etcd-keyfile": "",
    "etcd-certfile": "",
    "etcd-cafile": "",
    "etcd-username": "",
    "etcd-password": "",
    "listen": "",
    "remote": "",
    "remote-keyfile": "",
    "remote-certfile": "",
    "remote-cafile": "",
    "kube-subnet-mgr": false,
    "public-ip": "",
    "allowed-networks": "",
    "subnet-file": "/run/flannel/subnet.env",
    "subnet-dir": "/run/flannel/networks",
    "iface": "",
    "networks": "",
    "watch-networks": false,
    "subnet-lease-renew-margin": 60,
    "ip-masq": false,
    "help": false,
    "version": false,
    "logtostderr": true,
    "alsologtostderr": false,
    "v": 0,
    "stderrthreshold": "ERROR",
    "vmodule": "",
    "log_backtrace_at": "",
    "log_dir": "",
  };
  for (const [name, value] of Object.entries(defaults)) {
    assertEquals(flagNamed(name)?.default, value, name);
  }
});

Deno.test("FLAGS has every flag of newer flannel", () => {
  for (
    const name of [
      ...["iface-regex", "iface-can-reach", "public-ipv6", "healthz-ip", "healthz-port"],
      ...["iptables-resync", "iptables-forward-rules", "ip-blackhole-route"],
      ...["ip-masq-fully-random-disable", "kube-api-url", "kube-annotation-prefix"],
      ...["kubeconfig-file", "net-config-path", "set-node-network-unavailable"],
    ]
  ) assertEquals(flagNamed(name)?.name, name);
});

Deno.test("FLAGS has names and environment variables that differ", () => {
  assertEquals(new Set(flags.map(({ name }) => name)).size, flags.length);
  assertEquals(new Set(flags.map(({ name }) => environmentName(name))).size, flags.length);
  for (const { name } of flags) assertMatch(name, /^[a-z][a-z0-9_-]*$/);
});

Deno.test("FLAGS has defaults that pass its own checks, and a group and a help text each", () => {
  for (const flag of flags) {
    const kind = flag.kind === "int" ? "number" : flag.kind === "bool" ? "boolean" : "string";
    assertEquals(typeof flag.default, kind, flag.name);
    assertEquals(flag.placeholder === undefined, flag.kind === "bool", flag.name);
    assertEquals(FLAG_GROUPS.includes(flag.group), true, flag.name);
    assertMatch(flag.help, /^\S.*[^.\s]$/, flag.name);
    if (flag.missing === undefined) checkValue(flag, { kind: "argv" }, flag.default);
  }
});
