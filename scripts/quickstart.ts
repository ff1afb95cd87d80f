/**
 * Three hosts, one etcd, one network: what the guide builds on three machines, on this one, in a
 * few seconds. `quickstart.ts [v2|v3]` chooses etcd's API; v2 is the guide's.
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
import { type EtcdApi, LabEtcd } from "../tests/lab/lab_etcd.ts";
import { LabUnit } from "../tests/lab/unit.ts";

const started = performance.now();
const bold = (text: string) => Deno.stdout.isTerminal() ? `\x1b[1m${text}\x1b[0m` : text;
const say = (text = "") => console.log(text);
const step = (text: string) =>
  say(`\n${bold(`${((performance.now() - started) / 1000).toFixed(1)} s`)}  ${text}`);

const api = (Deno.args[0] ?? "v2") as EtcdApi;
if (api !== "v2" && api !== "v3") {
  console.error(`quickstart: "${api}" is not an etcd API; use v2 or v3`);
  Deno.exit(2);
}

step("Three hosts, each with its own network. eth1 is their shared Ethernet; eth0 has the same");
say("       address everywhere, as Vagrant's does: the guide's trap.");
await using lab = await Lab.start({ hosts: 3 });
for (const host of lab.hosts) say(`         ${host.name}   eth1 ${host.address}   eth0 10.0.2.15`);

step(`etcd on ${lab.hosts[0]!.name}, and the network's config under the guide's key (API ${api}):`);
await using etcd = await LabEtcd.start(lab.hosts[0]!);
await etcd.set(api, `${PREFIX}/config`, CONFIG);
say(`         ${PREFIX}/config = ${CONFIG}`);

step("flanneld on each, as its systemd unit starts it, with the guide's /etc/sysconfig/flanneld:");
await using units = new AsyncDisposableStack();
for (const host of lab.hosts) {
  await writeSysconfig(host, etcd);
  const before = performance.now();
  units.use(await LabUnit.start(host));
  const env = await subnetEnv(host);
  say(
    `         ${host.name}   leased ${(await subnetOf(host)).padEnd(15)} MTU ${env.FLANNEL_MTU}` +
      `   ready in ${(performance.now() - before).toFixed(0)} ms`,
  );
}

step("What etcd holds now, and how host100 reaches the others:");
for (const key of await leaseKeys(etcd, api)) {
  say(`         ${key.padEnd(16)} ${await etcd.get(api, `${PREFIX}/subnets/${key}`)}`);
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

step(lost === 0 ? "Every ping was answered. Taking everything down." : `${lost} pings were lost.`);
if (lost > 0) Deno.exitCode = 1;
