import { assertEquals, assertThrows } from "@std/assert";
import {
  findExternalInterface,
  InterfaceError,
  type InterfaceOptions,
} from "../../../mod/host/mod.ts";
import { formatIPv4, parseIPv4 } from "../../../mod/ip/mod.ts";
import { libc, Netlink } from "../../../mod/sys/mod.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

/** `name address` of what would be chosen on a host of the lab. */
function find(host: UnderlayHost, given: Partial<InterfaceOptions>): string {
  using netlink = Netlink.open({ netns: `/proc/${host.pid}/ns/net` });
  const { name, address } = findExternalInterface({ ifaces: [], regexes: [], ...given }, netlink);
  return `${name} ${formatIPv4(address)}`;
}

Deno.test("findExternalInterface() reads a real host's tables", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  const host = lab.host("host101");
  assertEquals(find(host, {}), "eth0 10.0.2.15");
  assertEquals(find(host, { ifaces: ["eth1"] }), "eth1 172.28.128.101");
  assertEquals(find(host, { ifaces: ["172.28.128.101"] }), "eth1 172.28.128.101");
  assertEquals(find(host, { regexes: [/^172\.28\./] }), "eth1 172.28.128.101");
  assertEquals(find(host, { publicIP: parseIPv4("172.28.128.101")! }), "eth1 172.28.128.101");
  for (const target of ["172.28.128.100", "172.28.128.101"]) {
    assertEquals(find(host, { canReach: parseIPv4(target)! }), "eth1 172.28.128.101", target);
  }
  assertEquals(find(host, { canReach: parseIPv4("8.8.8.8")! }), "eth0 10.0.2.15");
  assertThrows(
    () => find(host, { ifaces: ["nope"] }),
    InterfaceError,
    "this host has eth0 (10.0.2.15), eth1 (172.28.128.101), lo (127.0.0.1, loopback)",
  );

  await host.exec(["ip", "route", "add", "unreachable", "9.9.9.9"]);
  await host.exec(["ip", "route", "add", "default", "dev", "eth1", "metric", "50"]);
  assertEquals(find(host, {}), "eth1 172.28.128.101");
  assertThrows(
    () => find(host, { canReach: parseIPv4("9.9.9.9")! }),
    InterfaceError,
    "no route to 9.9.9.9",
  );
  await host.exec(["ip", "route", "flush", "table", "main"]);
  assertThrows(() => find(host, {}), InterfaceError, "Unable to find default route");
});

Deno.test("findExternalInterface() prefers addresses that stay", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  const ip = (...args: string[]) => host.exec(["ip", ...args, "dev", "eth1"]);
  await ip("address", "flush");
  await ip("address", "add", "169.254.7.7/16");
  assertEquals(find(host, { ifaces: ["eth1"] }), "eth1 169.254.7.7");
  await ip("address", "add", "10.7.0.1/24", "valid_lft", "600", "preferred_lft", "600");
  assertEquals(find(host, { ifaces: ["eth1"] }), "eth1 10.7.0.1");
  await ip("address", "add", "10.8.0.1/24");
  assertEquals(find(host, { ifaces: ["eth1"] }), "eth1 10.8.0.1");
  await ip("address", "change", "10.8.0.1/24", "valid_lft", "600", "preferred_lft", "0");
  assertEquals(find(host, { ifaces: ["eth1"] }), "eth1 10.7.0.1");
});
