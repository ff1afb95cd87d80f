import { assertEquals, assertThrows } from "@std/assert";
import { type Environment, resolveSettings } from "./environment.ts";
import { UsageError } from "../errors.ts";
import { parseFlags } from "./flag_syntax.ts";
import { flagNamed } from "./flags.ts";

function resolve(environment: Environment, ...args: string[]) {
  const { flags } = parseFlags(args, (name) => flagNamed(name)?.kind);
  return resolveSettings(flags, environment);
}

function refused(environment: Environment, ...args: string[]): string {
  return assertThrows(() => resolve(environment, ...args), UsageError).message;
}

Deno.test("resolveSettings() prefers argv, then FLANNEL_OPTIONS, then FLANNELD_*, then the rest", () => {
  const layers: [Environment, string[], string][] = [
    [{}, ["-etcd-prefix=/argv"], "/argv"],
    [{ FLANNEL_OPTIONS: "-etcd-prefix=/options" }, [], "/options"],
    [{ FLANNELD_ETCD_PREFIX: "/flanneld" }, [], "/flanneld"],
    [{ FLANNEL_ETCD_PREFIX: "/package" }, [], "/package"],
    [{ FLANNEL_ETCD_KEY: "/older" }, [], "/older"],
    [{}, [], "/coreos.com/network"],
  ];
  // Each layer with all those below it: the topmost counts.
  let environment: Environment = {};
  let args: string[] = [];
  for (const [variables, words, wanted] of layers.toReversed()) {
    environment = { ...environment, ...variables };
    args = [...args, ...words];
    assertEquals(resolve(environment, ...args).settings.text("etcd-prefix"), wanted);
  }
});

Deno.test("resolveSettings() takes the package's variables for endpoints, the newer name first", () => {
  const older = { FLANNEL_ETCD: "http://older:4001" };
  assertEquals(resolve(older).settings.text("etcd-endpoints"), "http://older:4001");
  const both = { ...older, FLANNEL_ETCD_ENDPOINTS: "http://newer:2379" };
  assertEquals(resolve(both).settings.text("etcd-endpoints"), "http://newer:2379");
});

Deno.test("resolveSettings() takes an empty variable for none", () => {
  const { settings, warnings } = resolve({
    FLANNELD_IP_MASQ: "",
    FLANNELD_ETCD_PREFIX: "",
    FLANNEL_ETCD_PREFIX: "",
    FLANNEL_ETCD_KEY: "/older",
    FLANNEL_OPTIONS: "",
    FLANNELD_NOSUCH: "",
  });
  assertEquals(settings.bool("ip-masq"), false);
  assertEquals(settings.text("etcd-prefix"), "/older");
  assertEquals(warnings, []);
});

Deno.test("resolveSettings() lets an empty flag on the command line hide the environment", () => {
  const { settings } = resolve({ FLANNELD_PUBLIC_IP: "10.0.0.1" }, "-public-ip=");
  assertEquals(settings.optional("public-ip"), undefined);
});

Deno.test("resolveSettings() reads every kind of flag from FLANNELD_*", () => {
  const { settings } = resolve({
    FLANNELD_IP_MASQ: "T",
    FLANNELD_SUBNET_LEASE_RENEW_MARGIN: "0x10",
    FLANNELD_IFACE: "eth1,eth2",
    FLANNELD_V: "3",
  });
  assertEquals(settings.bool("ip-masq"), true);
  assertEquals(settings.int("subnet-lease-renew-margin"), 16);
  assertEquals(settings.list("iface"), ["eth1,eth2"], "a variable is one value, as in flannel");
  assertEquals(settings.int("v"), 3);
});

Deno.test("resolveSettings() does not add up a repeatable flag over its sources", () => {
  const environment = { FLANNEL_OPTIONS: "-iface=eth1 -iface=eth2", FLANNELD_IFACE: "eth3" };
  assertEquals(resolve(environment, "-iface=eth4").settings.list("iface"), ["eth4"]);
  assertEquals(resolve(environment).settings.list("iface"), ["eth1", "eth2"]);
});

Deno.test("resolveSettings() splits FLANNEL_OPTIONS as systemd does", () => {
  const { settings } = resolve({ FLANNEL_OPTIONS: ` --iface "eth 1"\t-ip-masq  -v=2 ` });
  assertEquals(settings.list("iface"), ["eth 1"]);
  assertEquals(settings.bool("ip-masq"), true);
  assertEquals(settings.int("v"), 2);
});

Deno.test("resolveSettings() names variable, value and what would be right", () => {
  assertEquals(
    refused({ FLANNELD_IP_MASQ: "yes" }),
    'invalid value "yes" for flag -ip-masq from FLANNELD_IP_MASQ: parse error: ' +
      "expected true or false",
  );
  assertEquals(
    refused({ FLANNELD_SUBNET_LEASE_RENEW_MARGIN: "1h" }),
    'invalid value "1h" for flag -subnet-lease-renew-margin from ' +
      "FLANNELD_SUBNET_LEASE_RENEW_MARGIN: parse error: " +
      "expected a whole number of minutes from 1 to 1439",
  );
  assertEquals(
    refused({ FLANNELD_ETCD_API: "3" }),
    'invalid value "3" for flag -etcd-api from FLANNELD_ETCD_API: expected auto or v2 or v3',
  );
  assertEquals(
    refused({ FLANNELD_HEALTHZ_PORT: "70000" }),
    'invalid value "70000" for flag -healthz-port from FLANNELD_HEALTHZ_PORT: ' +
      "value out of range: expected a whole number from 0 to 65535",
  );
  assertEquals(
    refused({ FLANNEL_OPTIONS: "-iptables-resync=soon" }),
    'FLANNEL_OPTIONS: invalid value "soon" for flag -iptables-resync: parse error: ' +
      "expected a whole number of seconds from 1 to 86400",
  );
  assertEquals(
    refused({ FLANNEL_OPTIONS: "-nosuch" }),
    "FLANNEL_OPTIONS: flag provided but not defined: -nosuch",
  );
  assertEquals(
    refused({ FLANNEL_OPTIONS: "-ip-masq true" }),
    'FLANNEL_OPTIONS: "true" is not a flag: expected flags alone',
  );
  assertEquals(
    refused({ FLANNEL_OPTIONS: "-iptables-resync=0" }),
    'invalid value "0" for flag -iptables-resync from FLANNEL_OPTIONS: value out of range: ' +
      "expected a whole number of seconds from 1 to 86400",
  );
});

Deno.test("resolveSettings() does not read a variable that the command line hides", () => {
  assertEquals(resolve({ FLANNELD_V: "much" }, "-v=1").settings.int("v"), 1);
});

Deno.test("resolveSettings() warns of variables that look misspelt, and of no others", () => {
  const { warnings } = resolve({
    FLANNELD_IFCAE: "eth1",
    FLANNELD_WHATEVER: "1",
    FLANNEL_ETCD_ENDPOINT: "http://a:2379",
    FLANNEL_IFACE: "eth1",
    FLANNEL_NETWORK: "10.20.0.0/16",
    FLANNEL_SUBNET: "10.20.48.1/24",
    FLANNEL_MTU: "1450",
    FLANNEL_IPMASQ: "true",
    FLANNELLED: "1",
    PATH: "/bin",
  });
  assertEquals(warnings, [
    "environment variable FLANNELD_IFCAE belongs to no flag and is ignored; " +
    "did you mean FLANNELD_IFACE?",
    "environment variable FLANNELD_WHATEVER belongs to no flag and is ignored",
    "environment variable FLANNEL_ETCD_ENDPOINT is ignored; did you mean FLANNEL_ETCD_ENDPOINTS?",
    "environment variable FLANNEL_IFACE is ignored; did you mean FLANNELD_IFACE?",
  ]);
});
