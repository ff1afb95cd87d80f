import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { LabDocker } from "../lab/docker.ts";
import { LabCommandError } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { eventually } from "./guide.ts";

Deno.test("Lab gives every pair of hosts a way to each other on eth1", async () => {
  await using lab = await Lab.start();
  assertEquals(lab.hosts.map(({ name, address }) => [name, address]), [
    ["host100", "172.28.128.100"],
    ["host101", "172.28.128.101"],
    ["host102", "172.28.128.102"],
  ]);
  for (const from of lab.hosts) {
    for (const to of lab.hosts) {
      assertEquals(await from.ping(to.address), 1, `${from.name} to ${to.name}`);
    }
  }
});

Deno.test("Lab sets the guide's trap: one address on every eth0, and the default route there", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  for (const host of lab.hosts) {
    assert(/inet 10\.0\.2\.15\/24 /.test(await host.exec(["ip", "addr", "show", "eth0"])));
    const route = await host.exec(["ip", "route", "show", "default"]);
    assertEquals(route.trim(), "default via 10.0.2.2 dev eth0 metric 100");
    assertEquals(await host.ping("10.0.2.2"), 0);
  }
});

Deno.test("Lab gives hosts names, machine ids and files of their own", async () => {
  const before = await Deno.readTextFile("/etc/hostname");
  await using lab = await Lab.start({ hosts: 2 });
  const [one, other] = [lab.host("host100"), lab.host("host101")];
  assertEquals(await one.exec(["hostname"]), "host100\n");
  assertEquals(await one.readTextFile("/etc/machine-id"), `${one.machineId}\n`);
  assertNotEquals(one.machineId, other.machineId);
  for (const path of ["/run/flannel/subnet.env", "/etc/sysconfig/flanneld", "/var/lib/flannel/x"]) {
    await one.writeTextFile(path, "own\n");
    assertEquals(await one.exec(["cat", path]), "own\n");
    assertEquals((await other.run(["test", "-e", path])).code, 1, path);
    await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
  }
  assertEquals(await Deno.readTextFile("/etc/hostname"), before);
});

Deno.test("LabHost.exec() passes input and environment, and reports failures", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  assertEquals(
    await host.exec(["sh", "-c", "cat; echo $X"], { stdin: "in\n", env: { X: "x" } }),
    "in\nx\n",
  );
  const error = await assertRejects(
    () => host.exec(["sh", "-c", "echo out; echo err >&2; exit 3"]),
    LabCommandError,
    "host100: sh -c",
  );
  assertEquals(error.result, { code: 3, stdout: "out\n", stderr: "err\n" });
});

Deno.test("LabProcess signals the process itself, and knows how it ended", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  const script = "trap 'echo got USR1' USR1; trap 'echo bye; exit 7' TERM; echo up; " +
    "while :; do sleep 0.05; done";
  const process = await host.spawn(["sh", "-c", script]);
  await process.waitFor("up");
  process.signal("SIGUSR1");
  await process.waitFor("got USR1");
  assert(process.running);
  assertEquals((await process.stop()).code, 7);
  assert(process.output.endsWith("bye\n"));

  const killed = await host.spawn(["sleep", "1000"]);
  assertEquals((await killed.kill()).signal, "SIGKILL");
});

Deno.test("LabProcess.waitFor() shows the output of a process that ended without the words", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const process = await lab.host("host100").spawn(["sh", "-c", "echo one thing; exit 2"]);
  const error = await assertRejects(() => process.waitFor("another"), Error, "it ended (code 2");
  assert(error.message.includes("one thing"), error.message);
});

Deno.test("Lab.unplug() cuts a host off, and plug() brings it back", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  const [one, other] = [lab.host("host100"), lab.host("host101")];
  await lab.unplug(other);
  assertEquals(await one.ping(other.address), 0);
  await lab.plug(other);
  await eventually("an answer", async () => await one.ping(other.address) === 1);
});

Deno.test("Lab leaves nothing behind, even when a test throws or its tester is killed", async () => {
  const processes = async () => {
    const { stdout } = await new Deno.Command("ps", { args: ["-eo", "args"] }).output();
    return new TextDecoder().decode(stdout);
  };
  let dir = "";
  await assertRejects(
    async () => {
      await using lab = await Lab.start({ hosts: 2 });
      dir = lab.dir;
      await lab.host("host100").spawn(["sleep", "87654"]);
      throw new Error("a test fails");
    },
    Error,
    "a test fails",
  );
  await assertRejects(() => Deno.stat(dir), Deno.errors.NotFound);
  assert(!(await processes()).includes("sleep 87654"));

  const script = `
    import { Lab } from ${JSON.stringify(import.meta.resolve("../lab/lab.ts"))};
    const lab = await Lab.start({ hosts: 1 });
    await lab.host("host100").spawn(["sleep", "87655"]);
    console.log(lab.dir);
    setInterval(() => {}, 1000);
  `;
  const tester = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = tester.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const reader = tester.stdout.pipeThrough(new TextDecoderStream()).getReader();
  dir = (await reader.read()).value!.trim();
  assert((await processes()).includes("sleep 87655"));
  tester.kill("SIGKILL");
  await tester.status;
  await reader.cancel();
  const deadline = Date.now() + 5000;
  while ((await processes()).includes("sleep 87655")) assert(Date.now() < deadline);

  await using _next = await Lab.start({ hosts: 1 });
  await assertRejects(() => Deno.stat(dir), Deno.errors.NotFound);
});

Deno.test("LabEtcd serves v2 and v3 to every host, and keeps its data over a restart", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using etcd = await LabEtcd.start(lab.host("host100"));
  assertEquals(etcd.endpoint, "http://172.28.128.100:2379");
  for (const api of ["v2", "v3"] as const) {
    assertEquals(await etcd.get(api, "/flannel/network/config"), undefined);
    await etcd.set(api, "/flannel/network/config", `{"Network": "10.${api.slice(1)}.0.0/16"}`);
  }
  await etcd.stop();
  await etcd.start();
  assertEquals(await etcd.get("v2", "/flannel/network/config"), '{"Network": "10.2.0.0/16"}');
  assertEquals(await etcd.get("v3", "/flannel/network/config"), '{"Network": "10.3.0.0/16"}');
  const seen = await lab.host("host101").exec([
    ...["busybox", "wget", "-qO-", `${etcd.endpoint}/v2/keys/flannel/network/config`],
  ]);
  assert(seen.includes("10.2.0.0/16"), seen);
  for (const api of ["v2", "v3"] as const) {
    assertEquals(await etcd.keys(api, "/flannel/network"), ["/flannel/network/config"]);
    await etcd.removeAll(api, "/flannel/network");
    assertEquals(await etcd.keys(api, "/flannel/network"), []);
  }
});

Deno.test("LabDocker runs containers on the bridge that /run/flannel/docker asks for", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  await host.writeTextFile(
    "/run/flannel/docker",
    'DOCKER_NETWORK_OPTIONS=" --bip=10.20.48.1/24 --ip-masq=true --mtu=1450"\n',
  );
  await using docker = await LabDocker.start(host);
  const one = await docker.run("one");
  const other = await docker.run("other");
  assertEquals(await one.address(), "10.20.48.2");
  assertEquals(await other.address(), "10.20.48.3");
  assertEquals(await one.ping("10.20.48.3"), 1);
  assertEquals(await one.ping("10.20.48.77"), 0);
  assert((await one.exec(["ip", "link", "show", "eth0"])).includes("mtu 1450"));

  await host.writeTextFile(
    "/run/flannel/docker",
    'DOCKER_NETWORK_OPTIONS=" --bip=10.30.7.1/24 --mtu=1400"\n',
  );
  await docker.restart();
  const third = await docker.run("third");
  assertEquals(await third.address(), "10.30.7.2");
});
