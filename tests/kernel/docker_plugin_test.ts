// Docker's network plugin on kernel objects, without Docker; tests/e2e/docker/networks_test.ts has Docker.

import { assertEquals } from "@std/assert";
import { DockerLinks } from "../../mod/docker/kernel.ts";
import { HostLeases } from "../../mod/docker/leases.ts";
import { DockerPlugin } from "../../mod/docker/plugin.ts";
import { Prefix } from "../../mod/ip/mod.ts";
import { libc, Netlink } from "../../mod/sys/mod.ts";
import { NetworkNamespace } from "../lab/netns.ts";

libc();

const id = (digit: string) => digit.repeat(64);
const NET = id("a");

/** A host with a lease, and calls to its plugin. */
class PluginLab implements AsyncDisposable {
  readonly #netlink: Netlink;
  #plugin!: DockerPlugin;
  subnet = "10.20.5.0/24";

  private constructor(readonly namespace: NetworkNamespace) {
    this.#netlink = Netlink.open({ netns: namespace.path });
    this.restart();
  }

  static async start(): Promise<PluginLab> {
    return new PluginLab(await NetworkNamespace.create());
  }

  /** Another agent's plugin, which knows nothing. */
  restart(): void {
    const leases = () => {
      const subnet = Prefix.parse(this.subnet)!;
      return [{ name: "", network: new Prefix(subnet.address, 16), subnet, mtu: 1450 }];
    };
    const { signal } = new AbortController();
    this.#plugin = new DockerPlugin(new HostLeases(leases, 0, signal), this.links);
  }

  get links(): DockerLinks {
    return new DockerLinks(this.#netlink);
  }

  async call(name: string, from: object): Promise<Record<string, unknown>> {
    const { body } = await this.#plugin.answer({
      ...{ method: "POST", path: `/${name}`, body: JSON.stringify(from) },
    });
    return JSON.parse(body);
  }

  /** The calls of a container that starts. @returns its address, or the plugin's refusal */
  async connect(endpoint: string, network = NET): Promise<string> {
    const { Address, Err } = await this.call("IpamDriver.RequestAddress", { PoolID: "lease:" });
    if (Err !== undefined) return String(Err);
    const created = await this.call("NetworkDriver.CreateEndpoint", {
      ...{ NetworkID: network, EndpointID: endpoint, Interface: { Address } },
    });
    return String(created.Err ?? Address);
  }

  async disconnect(endpoint: string): Promise<void> {
    const names = { NetworkID: NET, EndpointID: endpoint };
    await this.call("NetworkDriver.Leave", names);
    await this.call("NetworkDriver.DeleteEndpoint", names);
  }

  /** Devices, with the addresses of those that have any. */
  async devices(): Promise<string[]> {
    const lines = (await this.namespace.ip("-br", "-4", "addr")).trim().split("\n");
    const addressed = new Map(lines.map((line) => {
      const [name, , ...addresses] = line.trim().split(/\s+/);
      return [name!.split("@")[0]!, addresses];
    }));
    const names = (await this.namespace.ip("-br", "link")).trim().split("\n")
      .map((line) => line.split(/[@\s]/)[0]!).filter((name) => name !== "lo");
    return names.sort().map((name) => [name, ...addressed.get(name) ?? []].join(" "));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#netlink[Symbol.dispose]();
    await this.namespace[Symbol.asyncDispose]();
  }
}

const BRIDGE = "fl-aaaaaaaaaaaa";
const [ONE, TWO] = [id("1"), id("2")];
const ends = (...digits: string[]) =>
  ["c", "h"].flatMap((end) => digits.map((digit) => `fl${end}${digit.repeat(12)}`));

Deno.test("DockerPlugin connects containers to the bridge of their network, and removes both", async () => {
  await using lab = await PluginLab.start();
  const network = {
    NetworkID: NET,
    IPv4Data: [{ Pool: "10.20.5.0/24", Gateway: "10.20.5.1/24" }],
  };
  for (let i = 0; i < 2; i++) {
    assertEquals(await lab.call("NetworkDriver.CreateNetwork", network), {}, `attempt ${i}`);
  }
  assertEquals(await lab.devices(), [`${BRIDGE} 10.20.5.1/24`]);
  assertEquals(await lab.connect(ONE), "10.20.5.2/24");
  const join = await lab.call("NetworkDriver.Join", { NetworkID: NET, EndpointID: ONE });
  assertEquals(join, {
    InterfaceName: { SrcName: "flc111111111111", DstPrefix: "eth" },
    Gateway: "10.20.5.1",
    StaticRoutes: [{ Destination: "10.20.0.0/16", RouteType: 0, NextHop: "10.20.5.1" }],
  });
  const [end] = JSON.parse(await lab.namespace.ip("-j", "link", "show", "flc111111111111"));
  assertEquals([end.address, end.mtu], ["02:42:0a:14:05:02", 1450]);
  assertEquals(await lab.devices(), [`${BRIDGE} 10.20.5.1/24`, ...ends("1")]);
  await lab.disconnect(ONE);
  assertEquals(await lab.call("NetworkDriver.DeleteNetwork", { NetworkID: NET }), {});
  assertEquals(await lab.call("NetworkDriver.DeleteNetwork", { NetworkID: NET }), {});
  assertEquals(await lab.devices(), []);
});

Deno.test("DockerPlugin knows every address after a restart, and creates the bridge again after a boot", async () => {
  await using lab = await PluginLab.start();
  // After a boot dockerd has the network, and the kernel no bridge.
  assertEquals(await lab.connect(ONE), "10.20.5.2/24");
  lab.restart();
  assertEquals(await lab.connect(TWO), "10.20.5.3/24");
  // dockerd repeats a call whose answer it did not get.
  const Interface = { Address: "10.20.5.3/24" };
  const repeated = { NetworkID: NET, EndpointID: TWO, Interface };
  assertEquals(await lab.call("NetworkDriver.CreateEndpoint", repeated), {
    Interface: { MacAddress: "02:42:0a:14:05:03" },
  });
  assertEquals(await lab.devices(), [`${BRIDGE} 10.20.5.1/24`, ...ends("1", "2").sort()]);
  const taken = { PoolID: "lease:", Address: "10.20.5.3" };
  assertEquals(
    (await lab.call("IpamDriver.RequestAddress", taken)).Err,
    "10.20.5.3 is in use",
  );
});

Deno.test("DockerPlugin removes interfaces that no container has, and no other", async () => {
  await using lab = await PluginLab.start();
  await using container = await NetworkNamespace.create();
  await lab.connect(ONE);
  await lab.connect(TWO);
  await lab.namespace.ip("link", "set", "flc222222222222", "netns", container.name);
  assertEquals(lab.links.removeStaleEndpoints(), 1);
  assertEquals(await lab.devices(), [`${BRIDGE} 10.20.5.1/24`, "flh222222222222"]);
  assertEquals(lab.links.removeStaleEndpoints(), 0);
});

Deno.test("DockerPlugin follows the lease, and keeps a former gateway while a container has it", async () => {
  await using lab = await PluginLab.start();
  await lab.connect(ONE);
  lab.subnet = "10.30.7.0/24";
  assertEquals(await lab.connect(TWO), "10.30.7.2/24");
  const bridge = async () => (await lab.devices())[0];
  assertEquals(await bridge(), `${BRIDGE} 10.20.5.1/24 10.30.7.1/24`);
  await lab.disconnect(ONE);
  assertEquals(await bridge(), `${BRIDGE} 10.30.7.1/24`);
  await lab.disconnect(TWO);
  assertEquals(await bridge(), `${BRIDGE} 10.30.7.1/24`);
  lab.links.removeFormerGateways([]);
  assertEquals(await bridge(), `${BRIDGE} 10.30.7.1/24`);
  lab.links.removeFormerGateways([Prefix.parse("10.40.9.0/24")!]);
  assertEquals(await bridge(), BRIDGE);
  const Interface = { Address: "10.20.5.9/24" };
  const stale = { NetworkID: NET, EndpointID: ONE, Interface };
  assertEquals(
    (await lab.call("NetworkDriver.CreateEndpoint", stale)).Err,
    "10.20.5.0/24 is not in this host's lease 10.30.7.0/24: create the Docker network again",
  );
});

Deno.test("DockerPlugin leaves a subnet to the bridge that has it", async () => {
  await using lab = await PluginLab.start();
  await lab.connect(ONE);
  assertEquals(
    await lab.connect(TWO, id("b")),
    "Docker network aaaaaaaaaaaa has 10.20.5.0/24 already: remove it, or give each network a " +
      "part of the lease with --subnet",
  );
  assertEquals(await lab.devices(), [`${BRIDGE} 10.20.5.1/24`, ...ends("1")]);
  await lab.call("NetworkDriver.DeleteNetwork", { NetworkID: NET });
  await lab.namespace.ip("link", "add", "docker0", "type", "bridge");
  await lab.namespace.ip("addr", "add", "10.20.5.1/24", "dev", "docker0");
  assertEquals(
    (await lab.call("IpamDriver.RequestPool", {})).Error,
    "docker0 has 10.20.5.1/24 of this host's lease: start dockerd without --bip, or remove " +
      "that address",
  );
});
