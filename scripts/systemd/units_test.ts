import { assert, assertEquals } from "@std/assert";
import { parseCommandLine } from "../../mod/cli/flags/parse.ts";
import { parseDotenv } from "../../mod/export/dotenv.ts";
import { etcdOf } from "../../mod/cli/testing/options_lab.ts";
import { DEFAULT_LIMITS } from "../../mod/server/server.ts";

const read = (name: string) => Deno.readTextFile(new URL(name, import.meta.url));

/** All values of each key of each section; comments and blank lines are left out. */
async function readUnit(name: string): Promise<Record<string, Record<string, string[]>>> {
  const unit: Record<string, Record<string, string[]>> = {};
  let section: Record<string, string[]> | undefined;
  for (const line of (await read(name)).split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const heading = /^\[(\w+)\]$/.exec(line);
    if (heading !== null) {
      section = unit[heading[1]!] = {};
      continue;
    }
    const [key, value] = line.split(/=(.*)/s) as [string, string];
    (section![key] ??= []).push(value);
  }
  return unit;
}

Deno.test("flanneld.service is started as the guide's unit is", async () => {
  const { Unit, Service, Install } = await readUnit("flanneld.service") as Record<
    "Unit" | "Service" | "Install",
    Record<string, string[]>
  >;
  assertEquals(Unit.Description, ["Flanneld overlay address etcd agent"]);
  assertEquals(Unit.After![0], "network.target network-online.target etcd.service");
  assertEquals(Unit.Wants![0], "network-online.target");
  assertEquals(Unit.Before, ["docker.service"]);
  const started = {
    Type: ["notify"],
    EnvironmentFile: ["/etc/sysconfig/flanneld", "-/etc/sysconfig/docker-network"],
    ExecStart: ["/usr/bin/flanneld $FLANNEL_OPTIONS"],
    ExecStartPost: [
      "/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker",
    ],
    TimeoutStartSec: ["0"],
    Restart: ["on-failure"],
    RestartSec: ["5"],
    RestartPreventExitStatus: ["2"],
    RuntimeDirectory: ["flannel"],
    RuntimeDirectoryPreserve: ["yes"],
  };
  for (const [key, values] of Object.entries(started)) assertEquals(Service[key], values, key);
  assertEquals(Install, { WantedBy: ["multi-user.target docker.service"] });
});

/** Directives that systemd 219 has (its man pages): all that flanneld.service has of them, and MemoryLimit. */
const OF_SYSTEMD_219: Readonly<Record<string, readonly string[]>> = {
  Unit: ["Description", "Documentation", "After", "Wants", "Before"],
  Service: [
    ...["Type", "EnvironmentFile", "ExecStart", "ExecStartPost", "TimeoutStartSec", "WatchdogSec"],
    ...["Restart", "RestartSec", "RestartPreventExitStatus", "CapabilityBoundingSet"],
    ...["NoNewPrivileges", "LimitMEMLOCK", "LimitNOFILE", "MemoryLimit", "ProtectSystem"],
    ...["ProtectHome", "PrivateTmp", "DevicePolicy", "DeviceAllow", "RestrictAddressFamilies"],
    ...["SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber", "UMask"],
  ],
  Install: ["WantedBy"],
};

/** Directives of both units whose values systemd 219 does not know. */
const OTHER_VALUES = [
  ...["After", "Wants", "CapabilityBoundingSet", "ProtectSystem", "SystemCallFilter"],
];

Deno.test("systemd-219/flanneld.service has directives that systemd 219 knows, with the values of flanneld.service", async () => {
  const unit = await readUnit("flanneld.service");
  const old = await readUnit("systemd-219/flanneld.service");
  for (const [section, keys] of Object.entries(old)) {
    assertEquals(Object.keys(keys).filter((key) => !OF_SYSTEMD_219[section]!.includes(key)), []);
    for (const [key, values] of Object.entries(keys)) {
      if (OTHER_VALUES.includes(key)) continue;
      assertEquals(values, unit[section]![key === "MemoryLimit" ? "MemoryMax" : key], key);
    }
  }
  // Nothing is left out by accident: every other directive is of a later systemd.
  for (const [section, keys] of Object.entries(unit)) {
    for (const key of Object.keys(keys)) {
      if (OF_SYSTEMD_219[section]!.includes(key)) assert(key in old[section]!, key);
    }
  }
  // A value of 219, an allow list that names a group of system calls, would let none pass.
  const filter = old.Service!.SystemCallFilter!;
  for (const line of filter) assert(/^~[a-z0-9_ ]+$/.test(line), line);
  assertEquals(old.Service!.ProtectSystem, ["full"]);
});

Deno.test("flanneld.service lets a server of -listen have as many connections as it takes", async () => {
  const { Service } = await readUnit("flanneld.service");
  assert(Number(Service!.LimitNOFILE) > DEFAULT_LIMITS.connections, String(Service!.LimitNOFILE));
});

Deno.test("flanneld.service lets a server of -listen have the memory that its connections take", async () => {
  const { Service } = await readUnit("flanneld.service");
  const [, gigabytes] = /^(\d+)G$/.exec(String(Service!.MemoryMax)) ?? [];
  const most = Number(gigabytes) * 2 ** 30;
  // Measured: a connection within its handshake, and the agent's peak with 5,000 leases.
  const [connectionBytes, agentBytes] = [76 * 1024, 122e6];
  const needed = DEFAULT_LIMITS.connections * connectionBytes + agentBytes;
  const answers = DEFAULT_LIMITS.answersPerAddress;
  assert(most > needed + 4 * answers, `${most} for ${needed}`);
  assert(most < 2 * needed, "a limit that nothing reaches guards nothing");
});

Deno.test("docker.service.d/flannel.conf gives Docker the options, and waits for them", async () => {
  assertEquals(await readUnit("docker.service.d/flannel.conf"), {
    Service: {
      EnvironmentFile: ["-/run/flannel/docker"],
      ExecStartPre: ["/bin/sh -c 'until [ -e /run/flannel/docker ]; do sleep 1; done'"],
      TimeoutStartSec: ["0"],
    },
  });
});

Deno.test("flanneld.sysconfig starts the agent, with and without its examples", async () => {
  const text = await read("flanneld.sysconfig");
  for (const lines of [text, text.replaceAll(/^#(?=\w+=)/gm, "")]) {
    const environment = Object.fromEntries(parseDotenv(lines));
    const line = parseCommandLine([], environment);
    if (line.command !== "agent") throw new Error(line.command);
    const { options, warnings } = line.agent;
    assertEquals(etcdOf(options).endpoints, ["http://127.0.0.1:2379"]);
    assertEquals(etcdOf(options).prefix, "/coreos.com/network");
    const examples = lines !== text;
    assertEquals(options.interface.ifaces, examples ? ["eth1"] : []);
    assertEquals(etcdOf(options).username, examples ? "flannel" : undefined);
    assertEquals(
      warnings,
      examples
        ? ["file /etc/flannel/ca.pem has no effect: no URL of -etcd-endpoints begins with https://"]
        : [],
    );
  }
});
