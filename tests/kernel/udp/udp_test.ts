import { assert, assertEquals } from "@std/assert";
import { carrierCases } from "../../../backends/testing/backend_cases.ts";
import { BackendLab, makeLease, prepare } from "../../../backends/testing/backend_lab.ts";
import { udpBackend } from "../../../backends/udp/udp.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";

// Peers are in the worker's table; the kernel has one route for all of them.
carrierCases({ backend: udpBackend, overhead: 28, peerObjects: false, lease: makeLease });

Deno.test("udp sync() creates a deleted device again before a worker reports the deletion", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  const { network, own } = await prepare(
    udpBackend,
    await host.context({ Type: "udp" }),
    "10.20.1.0/24",
  );
  try {
    const leases = () => new LeaseSet([makeLease("10.20.2.0/24", "172.28.128.101")]);
    assertEquals(await network.sync(own, leases()), 0);
    const names = async () => (await host.state()).map((line) => line.replace(/^link \d+/, "link"));
    const before = await names();
    for (const remake of [false, true]) {
      host.netlink.deleteLink(host.netlink.link("flannel0")!.index);
      // Another program's device with the same name is replaced too.
      if (remake) await host.namespace.ip("tuntap", "add", "flannel0", "mode", "tun");
      assertEquals(await network.sync(own, leases()), 0);
      assertEquals(await names(), before);
      assertEquals(network.status().stopped, undefined);
    }
  } finally {
    await network.remove();
  }
});

Deno.test("udp sync() leaves another program's route to the whole network in place", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  // The second network contains the hosts' addresses, whose connected route must stay.
  for (const network of ["10.20.0.0/16", "172.28.128.0/24"]) {
    using log = captureLog();
    const context = await host.context({ Type: "udp" }, { network });
    const subnet = network.replace("0.0/", "1.0/").replace(/\.0\/.*/, ".64/26");
    const { network: udp, own } = await prepare(udpBackend, context, subnet);
    try {
      const isUnderlay = network.startsWith("172.");
      if (!isUnderlay) {
        await host.namespace.ip(..."route add 10.20.0.0/16 via 172.28.128.9".split(" "));
      }
      const routes = async () => await host.ipJson("-4", "route", "show", network);
      const before = await routes();
      assertEquals(before.length, 1);
      for (let i = 0; i < 2; i++) assertEquals(await udp.sync(own, new LeaseSet()), 0);
      assertEquals(await routes(), before);
      const lines = log.lines.filter((line) => line.startsWith("W"));
      assertEquals(lines, [
        `W another program's route to ${network} is in the way of the one by flannel0: no ` +
        `packet reaches a peer; remove it with ip route del ${network}`,
      ]);
      if (!isUnderlay) {
        await using watch = host.watch(udp);
        await host.namespace.ip("route", "del", network);
        const deadline = performance.now() + 10_000;
        while (!watch.damage.includes(`route of this host to ${network} removed`)) {
          assert(performance.now() < deadline, String(watch.damage));
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await udp.sync(own, new LeaseSet());
        assertEquals((await routes()).map(({ dev }) => dev), ["flannel0"]);
      }
    } finally {
      await udp.remove();
    }
  }
});
Deno.test("udp sync() adopts flannel0 of a network that no agent serves, and removes that network's objects", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  const prepared = async (subnet: string, overrides: Parameters<typeof host.context>[1] = {}) =>
    await prepare(udpBackend, await host.context({ Type: "udp" }, overrides), subnet);
  const want = await prepared("10.20.1.0/24");
  await want.network.sync(want.own, new LeaseSet());
  const state = await host.state();
  await want.network.close();

  // Without subnet.env the agent does not know the former network. Then the former network is back.
  const other = await prepared("10.30.1.0/24", { network: "10.30.0.0/16" });
  assertEquals(other.network.status().device, "flannel0");
  await other.network.sync(other.own, new LeaseSet());
  await host.namespace.ip("address", "add", "192.168.77.1/24", "dev", "flannel0");
  await host.namespace.ip("route", "add", "192.168.78.0/24", "dev", "flannel0");
  await other.network.close();
  const back = await prepared("10.20.1.0/24");
  try {
    assertEquals(await back.network.sync(back.own, new LeaseSet()), 0);
    assertEquals(await host.state(), state);
  } finally {
    await back.network.remove();
  }
});

Deno.test("udp prepare() does not use a flannel0 that another network's stopped agent may have left", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  const context = (network: string) =>
    host.context({ Type: "udp" }, { network, besideOthers: true });
  const stopped = await prepare(udpBackend, await context("10.30.0.0/16"), "10.30.1.0/24");
  await stopped.network.sync(stopped.own, new LeaseSet());
  const before = await host.state();
  await stopped.network.close();
  const { network, own } = await prepare(udpBackend, await context("10.20.0.0/16"), "10.20.1.0/24");
  assertEquals(network.status().device, "flannel1");
  await network.sync(own, new LeaseSet());
  await network.remove();
  assertEquals(await host.state(), before);
});
