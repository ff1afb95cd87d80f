// The plugin `flannel` with the delegates of Debian's containernetworking-plugins, bridge and host-local.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { CniLab } from "./cni_lab.ts";

Deno.test("ADD and DEL connect and disconnect a container, with the files of upstream's plugin", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  const result = await lab.succeed({ command: "ADD", container });
  assertEquals(result.cniVersion, "1.0.0");
  assertEquals(result.interfaces.map(({ name }: { name: string }) => name).toSpliced(1, 1), [
    ...["cni0", "eth0"],
  ]);
  assertEquals(result.ips, [
    { address: "10.20.93.2/24", gateway: "10.20.93.1", interface: 2 },
  ]);
  assertEquals(result.routes, [{ dst: "10.20.0.0/16" }, { dst: "0.0.0.0/0", gw: "10.20.93.1" }]);
  assertEquals(
    await Deno.readTextFile(`${lab.dataDir}/c1`),
    '{"bridge":"cni0","cniVersion":"1.0.0","ipMasq":false,"ipam":{"dataDir":"' + lab.networks +
      '","ranges":[[{"subnet":"10.20.93.0/24"}]],"routes":[{"dst":"10.20.0.0/16"}],' +
      '"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,' +
      '"name":"cbr0","type":"bridge"}',
  );
  assertEquals((await Deno.stat(`${lab.dataDir}/c1`)).mode! & 0o777, 0o600);
  await container.exec("busybox", "ping", "-c1", "-W2", "10.20.93.1");
  await lab.succeed({ command: "CHECK", container, config: lab.config({ prevResult: result }) });

  await lab.succeed({ command: "DEL", container });
  assertEquals(await lab.links(), ["cni0"]);
  assertEquals([lab.leased(), lab.files(lab.dataDir)], [[], []]);
  // Again, and as after a restart of the runtime, which has neither result nor namespace.
  await lab.succeed({ command: "DEL", container });
  await lab.succeed({ command: "DEL" });
});

Deno.test("DEL releases the address of a container whose namespace is gone", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  await lab.succeed({ command: "ADD", container });
  await lab.remove(container);
  await Deno.remove(`${lab.directory}/subnet.env`);
  await lab.succeed({ command: "DEL" });
  assertEquals([lab.leased(), lab.files(lab.dataDir)], [[], []]);
});

Deno.test("ADD with cniVersion 1.1.0 works with delegates that have 1.0.0 only", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  const config = lab.config({ cniVersion: "1.1.0" });
  const result = await lab.succeed({ command: "ADD", container, config });
  assertEquals([result.cniVersion, result.ips[0].address], ["1.1.0", "10.20.93.2/24"]);
  await lab.succeed({ command: "CHECK", container, config: { ...config, prevResult: result } });
  await lab.succeed({ command: "STATUS", config });
  await lab.succeed({ command: "DEL", container, config });
  assertEquals(lab.leased(), []);
});

Deno.test("CHECK reports a container whose address is gone", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  const prevResult = await lab.succeed({ command: "ADD", container });
  await container.ip("addr", "flush", "dev", "eth0");
  const { code, output } = await lab.call({
    command: "CHECK",
    container,
    config: lab.config({ prevResult }),
  });
  assertEquals(code, 1);
  assert(output.code > 0 && output.msg !== "", JSON.stringify(output));
});

Deno.test("ADD that fails leaves nothing behind, and a second ADD leaves the first one's network", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  await lab.succeed({ command: "ADD", container });
  const saved = await Deno.readTextFile(`${lab.dataDir}/c1`);
  const again = await lab.call({ command: "ADD", container });
  assertEquals(again.code, 1);
  assertMatch(again.output.msg, /eth0/);
  assertEquals(await Deno.readTextFile(`${lab.dataDir}/c1`), saved);
  await container.exec("busybox", "ping", "-c1", "-W2", "10.20.93.1");

  const before = [await lab.links(), lab.leased(), lab.files(lab.dataDir)];
  // The kernel has no such MTU: the delegate fails after it has begun.
  const config = lab.config({ delegate: { bridge: "cni0", mtu: 99999999 } });
  const other = await lab.container();
  const failed = await lab.call({ command: "ADD", id: "c2", container: other, config });
  assertEquals(failed.code, 1);
  assertEquals([await lab.links(), lab.leased(), lab.files(lab.dataDir)], before);
});

Deno.test("concurrent ADDs of 50 containers give 50 addresses, and DELs return them", async () => {
  await using lab = await CniLab.create();
  const ids = Array.from({ length: 50 }, (_, index) => `c${index}`);
  const containers = new Map(
    await Promise.all(
      ids.map(async (id) => [id, await lab.container()] as const),
    ),
  );
  const added = await Promise.all(
    ids.map((id) => lab.succeed({ command: "ADD", id, container: containers.get(id) })),
  );
  assertEquals(new Set(added.map(({ ips }) => ips[0].address)).size, 50);
  assertEquals(lab.files(lab.dataDir), ids.toSorted());
  await containers.get("c49")!.exec(
    "busybox",
    "ping",
    "-c1",
    "-W5",
    added[0].ips[0].address.split("/")[0],
  );
  await Promise.all(
    ids.map((id) => lab.succeed({ command: "DEL", id, container: containers.get(id) })),
  );
  assertEquals([await lab.links(), lab.leased(), lab.files(lab.dataDir)], [["cni0"], [], []]);
});

Deno.test("GC removes what ADDs that were killed have left, and keeps valid attachments", async () => {
  await using lab = await CniLab.create();
  const config = lab.config({ cniVersion: "1.1.0" });
  const kept = await lab.container();
  await lab.succeed({ command: "ADD", id: "kept", container: kept, config });
  // Killed later and later: before, during and after the delegate's work.
  for (let delayMs = 0; delayMs <= 120; delayMs += 20) {
    const container = await lab.container();
    const id = `killed${delayMs}`;
    await lab.kill(
      { command: "ADD", id, container, config },
      () => lab.files(lab.dataDir).includes(id),
      delayMs,
    );
    // A delegate that outlives the plugin ends when its namespace goes.
    await new Promise((done) => setTimeout(done, 300));
    await lab.remove(container);
  }
  await lab.succeed({
    command: "GC",
    config: {
      ...config,
      "cni.dev/valid-attachments": [{ containerID: "kept", ifname: "eth0" }],
    },
  });
  assertEquals([lab.leased(), lab.files(lab.dataDir)], [["10.20.93.2"], ["kept"]]);
  assertEquals((await lab.links()).length, 2);
  await kept.exec("busybox", "ping", "-c1", "-W2", "10.20.93.1");
});

Deno.test("the plugin passes both families to the delegate", async () => {
  await using lab = await CniLab.create();
  await lab.lease(
    "10.20.93.1/24",
    "FLANNEL_IPV6_NETWORK=fd00:42::/48\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\n",
  );
  const container = await lab.container();
  const { ips } = await lab.succeed({ command: "ADD", container });
  assertEquals(ips.map(({ address }: { address: string }) => address), [
    ...["10.20.93.2/24", "fd00:42:0:1::2/64"],
  ]);
});
