import { assertEquals, assertThrows } from "@std/assert";
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../ip/mod.ts";
import { configureLog } from "../observe/log/log.ts";
import { Errno, type RouteFilter, SysError } from "../sys/mod.ts";
import { InterfaceError } from "./errors.ts";
import { findExternalInterface } from "./find_interface.ts";

/** A machine as Vagrant makes it, and what it was asked. */
class Vagrant {
  readonly asked: string[] = [];
  links() {
    return [
      { index: 2, name: "eth0", flags: 1, mtu: 1500 },
      { index: 3, name: "eth1", flags: 1, mtu: 1400 },
    ];
  }
  addresses() {
    const common = { prefixLength: 24, scope: 0, flags: 0x80 };
    return [
      { index: 2, address: parseIPv4("10.0.2.15")!, ...common },
      { index: 3, address: parseIPv4("172.28.128.101")!, ...common },
    ];
  }
  routes({ table }: RouteFilter = {}) {
    this.asked.push(`routes of table ${table}`);
    return [{
      destination: new Prefix(0, 0),
      gateway: parseIPv4("10.0.2.2")!,
      oif: 2,
      onlink: false,
      protocol: 3,
      scope: 0,
      table: 254,
      metric: 100,
    }];
  }
  routeTo(address: IPv4) {
    this.asked.push(`route to ${formatIPv4(address)}`);
    if (formatIPv4(address) !== "172.28.128.100") {
      throw new SysError("RTM_GETROUTE", address === 0 ? Errno.ENOBUFS : Errno.ENETUNREACH);
    }
    return { oif: 3, source: parseIPv4("172.28.128.101")! };
  }
}

/** Runs `fn` and gives back what it logged, without time and place. */
function logged(fn: () => void): string[] {
  const lines: string[] = [];
  configureLog({
    format: "json",
    write: (line) => {
      const { level, message } = JSON.parse(line) as { level: string; message: string };
      lines.push(`${level}: ${message}`);
    },
  });
  try {
    fn();
  } finally {
    configureLog({
      format: "glog",
      write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
    });
  }
  return lines;
}

Deno.test("findExternalInterface() logs each step and the warning", () => {
  const host = new Vagrant();
  const lines = logged(() => {
    const { name, mtu } = findExternalInterface({ ifaces: [], regexes: [] }, host);
    assertEquals([name, mtu], ["eth0", 1500]);
  });
  assertEquals(lines.slice(0, 3), [
    "info: Determining IP address of default interface",
    "info: Using interface with name eth0 and address 10.0.2.15",
    "info: Defaulting external address to interface address (10.0.2.15)",
  ]);
  assertEquals(lines[3]?.startsWith("warning: took eth0 (10.0.2.15), since"), true, lines[3]);
  assertEquals(host.asked, ["routes of table 254"]);
});

Deno.test("findExternalInterface() asks for the route to -iface-can-reach", () => {
  const host = new Vagrant();
  const find = (canReach: IPv4) =>
    findExternalInterface({ ifaces: [], regexes: [], canReach }, host);
  logged(() => {
    const { name, mtu } = find(parseIPv4("172.28.128.100")!);
    assertEquals([name, mtu], ["eth1", 1400]);
  });
  assertEquals(host.asked[0], "route to 172.28.128.100");
  assertThrows(() => find(parseIPv4("8.8.8.8")!), InterfaceError, "no route to 8.8.8.8");
  assertThrows(() => find(0), SysError, "ENOBUFS");
});
