/**
 * Three hosts, one network: what the guide builds on three machines, on this one, in a few seconds.
 * The first keeps the leases in a file and serves them to the others. With `--etcd [v2|v3]` they are
 * in a real etcd instead, as the guide has it; v2 is the guide's API.
 *
 * @module
 */
import {
  CONFIG,
  leaseKeys,
  overlayAddress,
  PREFIX,
  subnetEnv,
  subnetOf,
  writeSysconfig,
} from "../tests/e2e/guide.ts";
import { Lab } from "../tests/lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../tests/lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../tests/lab/unit.ts";

/** Port of the first host's lease server. */
const PORT = 8889;

/** Path of the token file on each host. */
const TOKEN_FILE = "/etc/flannel/remote-token";

const token = `${crypto.randomUUID()}\n`;

const started = performance.now();
const bold = (text: string) => Deno.stdout.isTerminal() ? `\x1b[1m${text}\x1b[0m` : text;
const say = (text = "") => console.log(text);
const step = (text: string) =>
  say(`\n${bold(`${((performance.now() - started) / 1000).toFixed(1)} s`)}  ${text}`);

const api = chosenApi(Deno.args);

step("Three hosts, each with its own network. They share the Ethernet of eth1. eth0 has the same");
say("       address on each host, as Vagrant's has, so the agents need -iface=eth1.");
await using lab = await Lab.start({ hosts: 3 });
for (const host of lab.hosts) say(`         ${host.name}   eth1 ${host.address}   eth0 10.0.2.15`);

const first = lab.hosts[0]!;
await using etcd = api === undefined ? undefined : await LabEtcd.start(first);
if (api !== undefined && etcd !== undefined) {
  step(`etcd on ${first.name}, and the network's config under the guide's key (API ${api}):`);
  await etcd.set(api, `${PREFIX}/config`, CONFIG);
  say(`         ${PREFIX}/config = ${CONFIG}`);
}

step("flanneld on each, as its systemd unit starts it, with these FLANNEL_OPTIONS:");
await using units = new AsyncDisposableStack();
for (const host of lab.hosts) {
  const options = await configure(host);
  const before = performance.now();
  units.use(await LabUnit.start(host));
  const took = (performance.now() - before).toFixed(0);
  const env = await subnetEnv(host);
  say(`         ${host.name}   ${options}`);
  say(
    `                   leased ${(await subnetOf(host)).padEnd(15)} MTU ${env.FLANNEL_MTU}` +
      `   ready in ${took} ms`,
  );
}

if (api !== undefined && etcd !== undefined) {
  step("Leases in etcd, and host100's routes to the others:");
  for (const key of await leaseKeys(etcd, api)) {
    say(`         ${key.padEnd(16)} ${await etcd.get(api, `${PREFIX}/subnets/${key}`)}`);
  }
} else {
  step("Output of 'flanneld lease list' on host102, and host100's routes to the others:");
  const list = await lab.hosts.at(-1)!.exec([FLANNELD, "lease", "list"]);
  for (const line of list.trim().split("\n")) say(`         ${line}`);
}
const routes = await lab.hosts[0]!.exec(["ip", "route", "show", "proto", "102"]);
for (const route of routes.trim().split("\n")) say(`         ${route.trim()}`);
say("         docker on host100 would be started with:");
const dockerOptions = await lab.hosts[0]!.readTextFile("/run/flannel/docker");
say(`         ${dockerOptions.trim().split("\n").at(-1)}`);

step("Every host pings every other's overlay address, five times:");
const addresses = await Promise.all(lab.hosts.map(overlayAddress));
let lost = 0;
say(`         ${"".padEnd(9)}${addresses.map((address) => address.padEnd(15)).join("")}`);
for (const host of lab.hosts) {
  const answers = await Promise.all(
    addresses.map((address) => host.ping(address, { count: 5, args: ["-i", "0.05"] })),
  );
  lost += answers.reduce((sum, answered) => sum + 5 - answered, 0);
  say(`         ${host.name.padEnd(9)}${answers.map((n) => `${n}/5`.padEnd(15)).join("")}`);
}

step(lost === 0 ? "Every ping was answered. Removing the hosts." : `${lost} pings were lost.`);
if (lost > 0) Deno.exitCode = 1;

/** Writes a host's /etc/sysconfig/flanneld. @returns its FLANNEL_OPTIONS */
async function configure(host: typeof first): Promise<string> {
  if (etcd !== undefined) {
    await writeSysconfig(host, etcd);
    return "-iface=eth1";
  }
  const server = `${first.address}:${PORT}`;
  const access = `-remote-token-file=${TOKEN_FILE}`;
  const options = host === first
    ? `-iface=eth1 -store=embedded -network=10.20.0.0/16 -backend=vxlan -listen=${server}`
    : `-iface=eth1 -remote=${server}`;
  await host.writeTextFile(TOKEN_FILE, token, 0o600);
  await host.writeTextFile("/etc/sysconfig/flanneld", `FLANNEL_OPTIONS="${options} ${access}"\n`);
  return `${options} ${access}`;
}

/** etcd's API that was asked for; `undefined` for no etcd. */
function chosenApi(args: readonly string[]): EtcdApi | undefined {
  const [flag, api = "v2", ...rest] = args;
  if (flag === undefined) return undefined;
  if (flag === "--etcd" && (api === "v2" || api === "v3") && rest.length === 0) return api;
  console.error(
    `quickstart: ${JSON.stringify(args.join(" "))} is not understood: expected nothing, or ` +
      "--etcd, --etcd v2 or --etcd v3",
  );
  Deno.exit(2);
}
