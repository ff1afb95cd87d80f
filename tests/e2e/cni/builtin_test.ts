// The plugin `flannel` without a delegate: no other plugin is on the host.

import { assertEquals, assertMatch } from "@std/assert";
import type { NetworkNamespace } from "../../lab/netns.ts";
import { CniLab } from "./cni_lab.ts";

const ping = (from: NetworkNamespace, address: string) =>
  from.exec("busybox", "ping", "-c1", "-W3", address);

Deno.test("ADD, CHECK and DEL connect containers to each other and to the host, by the executable alone", async () => {
  await using lab = await CniLab.create({});
  const [one, two] = [await lab.container(), await lab.container()];
  const config = lab.builtin({ hairpinMode: true });
  await lab.succeed({ command: "STATUS", config });
  const result = await lab.succeed({ command: "ADD", id: "c1", container: one, config });
  const other = await lab.succeed({ command: "ADD", id: "c2", container: two, config });
  assertEquals(result.ips, [{ address: "10.20.93.2/24", gateway: "10.20.93.1", interface: 2 }]);
  assertEquals(result.routes, [
    { dst: "10.20.0.0/16", gw: "10.20.93.1" },
    { dst: "0.0.0.0/0", gw: "10.20.93.1" },
  ]);
  const [bridge, hostEnd, eth0] = result.interfaces;
  assertEquals([bridge.name, eth0.name, eth0.sandbox], ["cni0", "eth0", one.path]);
  assertEquals(other.ips[0].address, "10.20.93.3/24");

  const [port] = JSON.parse(await lab.host.ip("-j", "-d", "link", "show", hostEnd.name));
  assertEquals([port.master, port.mtu, port.address], ["cni0", 1450, hostEnd.mac]);
  assertEquals(port.linkinfo.info_slave_data.hairpin, true);
  const [inside] = JSON.parse(await one.ip("-j", "link", "show", "eth0"));
  assertEquals([inside.mtu, inside.address], [1450, eth0.mac]);
  await ping(one, "10.20.93.1");
  await ping(one, "10.20.93.3");
  assertEquals(
    (await lab.host.exec("cat", "/proc/sys/net/ipv4/ip_forward")).trim(),
    "1",
  );
  await lab.succeed({
    ...{ command: "CHECK", id: "c1", container: one },
    config: { ...config, prevResult: result },
  });

  await lab.succeed({ command: "DEL", id: "c1", container: one, config });
  assertEquals(lab.builtinLeases(), ["10.20.93.3"]);
  assertEquals((await lab.links()).length, 2);
  await ping(two, "10.20.93.1");
  // As after a restart of the runtime: no result, no namespace, no subnet file.
  await Deno.remove(`${lab.directory}/subnet.env`);
  await lab.remove(two);
  await lab.succeed({ command: "DEL", id: "c2", config });
  await lab.succeed({ command: "DEL", id: "c2", config });
  assertEquals([lab.builtinLeases(), await lab.links()], [[], ["cni0"]]);
});

Deno.test("the result of 0.4.0 has the family of each address, and no MTU", async () => {
  await using lab = await CniLab.create({});
  const container = await lab.container();
  const config = lab.builtin({ isDefaultGateway: false }, { cniVersion: "0.4.0" });
  const result = await lab.succeed({ command: "ADD", container, config });
  assertEquals(result.ips[0].version, "4");
  assertEquals(Object.keys(result.interfaces[2]), ["name", "mac", "sandbox"]);
  assertEquals(result.routes.length, 1);
});

Deno.test("CHECK names the damage", async () => {
  await using lab = await CniLab.create({});
  const container = await lab.container();
  const config = lab.builtin();
  const damages: readonly (readonly [(hostEnd: string) => Promise<unknown>, RegExp])[] = [
    [() => container.ip("addr", "flush", "dev", "eth0"), /^eth0 does not have 10\.20\.93\.\d\/24$/],
    [() => container.ip("route", "del", "default"), /^the container has no route to 0\.0\.0\.0\/0/],
    [() => container.ip("link", "set", "eth0", "down"), /^eth0 is down in the container$/],
    [
      () => container.ip("link", "set", "eth0", "address", "02:00:00:00:00:01"),
      /^eth0 has the hardware address 02:/,
    ],
    [() => container.ip("link", "del", "eth0"), /^the host has no device veth/],
    [(hostEnd) => lab.host.ip("link", "set", hostEnd, "nomaster"), /is no port of cni0$/],
    [() => lab.host.ip("addr", "flush", "dev", "cni0"), /^bridge cni0 does not have the address/],
    [() => lab.host.ip("link", "set", "cni0", "down"), /^bridge cni0 is down$/],
    [() => lab.host.ip("link", "del", "cni0"), /^there is no bridge cni0$/],
  ];
  for (const [damage, message] of damages) {
    const prevResult = await lab.succeed({ command: "ADD", container, config });
    const check = () =>
      lab.call({ command: "CHECK", container, config: { ...config, prevResult } });
    assertEquals((await check()).code, 0, String(message));
    await damage(prevResult.interfaces[1].name);
    const { code, output } = await check();
    assertEquals([code, output?.code], [1, 100], String(message));
    assertMatch(output.msg, message);
    await lab.succeed({ command: "DEL", container, config });
    assertEquals(lab.builtinLeases(), []);
  }
});

Deno.test("concurrent ADDs of 50 containers give 50 addresses, and DELs return them", async () => {
  await using lab = await CniLab.create({});
  const config = lab.builtin();
  const ids = Array.from({ length: 50 }, (_, index) => `c${index}`);
  const containers = new Map(
    await Promise.all(
      ids.map(async (id) => [id, await lab.container()] as const),
    ),
  );
  const added = await Promise.all(
    ids.map((id) => lab.succeed({ command: "ADD", id, container: containers.get(id), config })),
  );
  assertEquals(new Set(added.map(({ ips }) => ips[0].address)).size, 50);
  assertEquals(lab.builtinLeases().length, 50);
  await ping(containers.get("c49")!, added[0].ips[0].address.split("/")[0]);
  await Promise.all(
    ids.map((id) => lab.succeed({ command: "DEL", id, container: containers.get(id), config })),
  );
  assertEquals([lab.builtinLeases(), await lab.links()], [[], ["cni0"]]);
});

Deno.test("GC removes what ADDs that were killed have left, and DEL too", async () => {
  await using lab = await CniLab.create({});
  const config = lab.builtin();
  const kept = await lab.container();
  await lab.succeed({ command: "ADD", id: "kept", container: kept, config });
  const containers: NetworkNamespace[] = [];
  // Killed as soon as the lease is there, or a little later: during the kernel's work, or after it.
  for (let delayMs = 0; delayMs < 20; delayMs++) {
    const container = await lab.container();
    containers.push(container);
    await lab.kill(
      { command: "ADD", id: `killed${delayMs}`, container, config },
      () => lab.builtinLeases().length === containers.length + 1,
      delayMs,
    );
  }
  // One by the runtime's DEL, the others by GC. The containers' namespaces still exist.
  await lab.succeed({ command: "DEL", id: "killed19", container: containers.at(-1), config });
  await lab.succeed({
    command: "GC",
    config: {
      ...config,
      "cni.dev/valid-attachments": [{ containerID: "kept", ifname: "eth0" }],
    },
  });
  assertEquals(lab.builtinLeases(), ["10.20.93.2"]);
  assertEquals((await lab.links()).length, 2);
  for (const container of containers) {
    assertEquals(JSON.parse(await container.ip("-j", "link")).length, 1);
  }
  await ping(kept, "10.20.93.1");
});

Deno.test("ADD that fails leaves nothing behind", async () => {
  await using lab = await CniLab.create({});
  const container = await lab.container();
  const config = lab.builtin();
  const cases: readonly (readonly [Record<string, unknown>, number, RegExp])[] = [
    [lab.builtin({ color: "red" }), 2, /^unsupported field builtin\.color: "red"$/],
    [lab.builtin({ mtu: 20 }), 7, /^invalid builtin\.mtu: 20$/],
    [lab.builtin({ bridge: "lo" }), 7, /^lo is not a bridge$/],
    [lab.builtin({}, { delegate: {} }), 7, /exclude each other$/],
    [lab.builtin({}, { ipam: {} }), 7, /exclude each other$/],
    [lab.builtin({ leaseDir: "/proc/nowhere" }), 5, /^cannot make \/proc\/nowhere$/],
  ];
  for (const [config, code, message] of cases) {
    const answer = await lab.call({ command: "ADD", container, config });
    assertEquals([answer.code, answer.output.code], [1, code], JSON.stringify(answer));
    assertMatch(answer.output.msg, message);
    assertEquals([await lab.links(), lab.builtinLeases()], [[], []]);
  }
  await container.ip("link", "add", "eth0", "type", "bridge");
  const taken = await lab.call({ command: "ADD", container, config });
  assertEquals(taken.output.msg, "the container has an interface eth0 already");
  assertEquals([await lab.links(), lab.builtinLeases()], [[], []]);
  await container.ip("link", "del", "eth0");
  // The kernel refuses the last step of all, the default route.
  await container.ip("route", "add", "blackhole", "default");
  const refused = await lab.call({ command: "ADD", container, config });
  assertEquals([refused.code, refused.output.code], [1, 102]);
  assertMatch(refused.output.msg, /RTM_NEWROUTE.*EEXIST/);
  assertEquals([await lab.links(), lab.builtinLeases()], [[], []]);
  assertEquals(JSON.parse(await container.ip("-j", "link")).length, 1);
  await container.ip("route", "del", "blackhole", "default");
  await lab.lease("10.20.93.1/31");
  const full = await lab.call({ command: "ADD", container, config });
  assertEquals([full.output.code, await lab.links(), lab.builtinLeases()], [101, [], []]);
});

Deno.test("ADD in a full subnet takes the address of a container whose namespace went without DEL", async () => {
  await using lab = await CniLab.create({});
  const config = lab.builtin();
  await lab.lease("10.20.93.1/29");
  const containers: NetworkNamespace[] = [];
  const add = async (id: string) => {
    const container = await lab.container();
    containers.push(container);
    return await lab.call({ command: "ADD", id, container, config });
  };
  for (let i = 0; i < 5; i++) assertEquals((await add(`c${i}`)).code, 0);
  const status = () => lab.call({ command: "STATUS", config });
  const full = await add("late");
  assertEquals([full.output.code, full.output.msg], [101, "no free address in 10.20.93.0/29"]);
  assertEquals((await status()).output.code, 50);
  await lab.remove(containers[2]!);
  assertEquals((await status()).code, 0);
  const { output } = await add("late");
  assertEquals(output.ips[0].address, "10.20.93.4/29");
  await lab.succeed({ command: "DEL", id: "c2", config });
  assertEquals(lab.builtinLeases().length, 5);
});

Deno.test("a second ADD leaves the first one's network, and a new lease of the host gives the bridge its address", async () => {
  await using lab = await CniLab.create({});
  const container = await lab.container();
  const config = lab.builtin();
  await lab.succeed({ command: "ADD", container, config });
  const again = await lab.call({ command: "ADD", container, config });
  assertEquals([again.code, again.output.msg], [1, "container c1 has eth0 already"]);
  await ping(container, "10.20.93.1");
  await lab.lease("10.20.94.1/24");
  const next = await lab.container();
  const { ips } = await lab.succeed({ command: "ADD", id: "c2", container: next, config });
  assertEquals(ips[0].address, "10.20.94.2/24");
  await ping(next, "10.20.94.1");
  const [{ addr_info }] = JSON.parse(await lab.host.ip("-j", "-4", "addr", "show", "cni0"));
  assertEquals(addr_info.map(({ local }: { local: string }) => local), ["10.20.94.1"]);
});

Deno.test("DEL removes what the other mode has added", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  await lab.succeed({ command: "ADD", container });
  await lab.succeed({ command: "DEL", container, config: lab.builtin() });
  assertEquals([lab.leased(), lab.files(lab.dataDir)], [[], []]);
  assertEquals(await lab.links(), ["cni0"]);
});
