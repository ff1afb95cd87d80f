/** Router advertisements inside VXLAN: the kernel must not take a default route from a peer. */
import { assert, assertEquals } from "@std/assert";
import type { BackendHost, BackendLab } from "../../../backends/testing/backend_lab.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { projectRoot } from "../../../scripts/checks/module_graph.ts";
import { run } from "../../lab/command.ts";
import { sendDatagrams } from "../../lab/send_datagram.ts";
import { ip, prepareVxlan, test } from "./vxlan_lab.ts";

/** A VXLAN header (RFC 7348) and the frame of a router advertisement (RFC 4861) from fe80::bad to ff02::1. */
function advertisement(vni: number): Uint8Array {
  const source = [0xfe, 0x80, ...new Array(13).fill(0), 0xad];
  const all = [0xff, 0x02, ...new Array(13).fill(0), 1];
  // Hop limit 64, preference high, lifetime 1800 s.
  const body = [134, 0, 0, 0, 64, 0x08, 0x07, 0x08, ...new Array(8).fill(0)];
  const pseudo = [...source, ...all, 0, 0, 0, body.length, 0, 0, 0, 58, ...body];
  let sum = 0;
  for (let i = 0; i < pseudo.length; i += 2) sum += (pseudo[i]! << 8) | pseudo[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  body[2] = (~sum >>> 8) & 0xff;
  body[3] = ~sum & 0xff;
  return Uint8Array.of(
    ...[0x08, 0, 0, 0, 0, 0, vni, 0],
    ...[0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 0xad, 0x86, 0xdd],
    ...[0x60, 0, 0, 0, 0, body.length, 58, 255, ...source, ...all, ...body],
  );
}

/** Sends an advertisement from the underlay to a port of the host. */
async function advertise(lab: BackendLab, port: number, vni: number): Promise<void> {
  const { address } = lab.host;
  const payload = advertisement(vni);
  await lab.hosts[1].namespace.exec(...sendDatagrams({ address, port, payload }));
}

const IPV6_ROUTES = "-6 route show default";

async function defaultRoutes(host: BackendHost): Promise<string> {
  return (await host.namespace.ip(...IPV6_ROUTES.split(" "))).trim();
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!await condition()) {
    assert(performance.now() < deadline, "not within 20 s");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A device like flannel.1, which somebody else has made: it accepts what the agent's must not. */
async function addPlainDevice(host: BackendHost): Promise<void> {
  await ip(host, "link add plain type vxlan id 9 dstport 4789 nolearning");
  await ip(host, "link set plain up");
}

/** The plain device gets its route after all that was sent before it. */
async function routesAfter(lab: BackendLab, host: BackendHost): Promise<string> {
  await advertise(lab, 4789, 9);
  await until(async () => (await defaultRoutes(host)).includes("dev plain"));
  return await defaultRoutes(host);
}

test("a router advertisement inside the tunnel gives the host no route", async ({ lab, host, step }) => {
  await addPlainDevice(host);
  const { network, own } = await prepareVxlan(host);
  await network.sync(own, new LeaseSet());
  await advertise(lab, 8472, 1);
  assert(!(await routesAfter(lab, host)).includes("flannel.1"));
  assertEquals(await host.namespace.ip("-6", "address", "show", "dev", "flannel.1"), "");

  await step("IPv6 that somebody turns on is turned off again", async () => {
    await using watch = host.watch(network);
    await host.namespace.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0");
    await until(() => watch.damage.includes("IPv6 of flannel.1 turned on"));
    await advertise(lab, 8472, 1);
    await network.sync(own, new LeaseSet());
    assertEquals(await host.namespace.ip("-6", "address", "show", "dev", "flannel.1"), "");
    assert(!(await defaultRoutes(host)).includes("flannel.1"));
  });
});

test("a host with a read-only /proc/sys drops router advertisements by a classifier", async ({ lab, host }) => {
  await addPlainDevice(host);
  await ip(host, "link add flannel.1 type vxlan id 1 dstport 8472 nolearning");
  const script = `
    import { Netlink } from "${projectRoot()}/mod/sys/mod.ts";
    using netlink = Netlink.open();
    const link = netlink.link("flannel.1");
    netlink.disableIPv6(link);
    netlink.disableIPv6(link);
    console.log(netlink.acceptsIPv6(link), netlink.filters(link.index, "ingress").length);`;
  const remount = "mount -o bind,ro /proc/sys /proc/sys && exec";
  assertEquals(
    await run([
      ...["ip", "netns", "exec", host.namespace.name, "unshare", "-m", "sh", "-c"],
      ...[`${remount} "$@"`, "sh", Deno.execPath(), "eval", "--no-check", script],
    ]),
    "false 1\n",
  );
  await ip(host, "link set flannel.1 up");
  await advertise(lab, 8472, 1);
  assert(!(await routesAfter(lab, host)).includes("flannel.1"));
});
