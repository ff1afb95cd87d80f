import { assertEquals } from "@std/assert";
import { carrierCases } from "../../backends/backend_cases.ts";
import { BackendLab, makeLease, prepare } from "../../backends/backend_lab.ts";
import { udpBackend } from "../../backends/udp/udp.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";

// Its peers are in the worker's table; the kernel has one route for all of them.
carrierCases({ backend: udpBackend, overhead: 28, peerObjects: false, lease: makeLease });

Deno.test("udp sync() makes a device anew before a worker has said that it is gone", async () => {
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
      // Another's of the same name is no better.
      if (remake) await host.namespace.ip("tuntap", "add", "flannel0", "mode", "tun");
      assertEquals(await network.sync(own, leases()), 0);
      assertEquals(await names(), before);
      assertEquals(network.status().stopped, undefined);
    }
  } finally {
    await network.remove();
  }
});
