import { assertEquals, assertRejects } from "@std/assert";
import { parseIPv4, Prefix } from "../ip/mod.ts";
import { configureLog } from "../observe/log.ts";
import { InterfaceError } from "./errors.ts";
import { findExternalInterface, type HostQueries } from "./find_interface.ts";

/** A machine as Vagrant makes it, and what it was asked. */
class Vagrant implements HostQueries {
  readonly asked: string[] = [];
  links() {
    return [
      { index: 2, name: "eth0", flags: 1, mtu: 1500 },
      { index: 3, name: "eth1", flags: 1, mtu: 1400 },
    ];
  }
  addresses() {
    const common = { prefixLength: 24, scope: 0, flags: 0x80 };
    return Promise.resolve([
      { index: 2, address: parseIPv4("10.0.2.15")!, ...common },
      { index: 3, address: parseIPv4("172.28.128.101")!, ...common },
    ]);
  }
  routes({ table }: { table: number }) {
    this.asked.push(`routes of table ${table}`);
    return [{
      destination: new Prefix(0, 0),
      gateway: parseIPv4("10.0.2.2")!,
      oif: 2,
      onlink: false,
      protocol: 3,
      scope: 0,
      table,
      metric: 100,
    }];
  }
  routeTo(address: number) {
    this.asked.push(`route to ${address}`);
    return address === parseIPv4("172.28.128.100")! ? { oif: 3 } : undefined;
  }
}

/** Runs `fn` and gives back what it logged, without time and place. */
async function logged(fn: () => Promise<unknown>): Promise<string[]> {
  const lines: string[] = [];
  configureLog({
    format: "json",
    write: (line) => {
      const { level, message } = JSON.parse(line) as { level: string; message: string };
      lines.push(`${level}: ${message}`);
    },
  });
  try {
    await fn();
  } finally {
    configureLog({
      format: "glog",
      write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
    });
  }
  return lines;
}

Deno.test("findExternalInterface() logs each step, and its doubt as a warning", async () => {
  const host = new Vagrant();
  const lines = await logged(async () => {
    const { name, mtu } = await findExternalInterface({ ifaces: [], regexes: [] }, host);
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

Deno.test("findExternalInterface() asks for the route to -iface-can-reach", async () => {
  const host = new Vagrant();
  await logged(async () => {
    const canReach = parseIPv4("172.28.128.100")!;
    const found = await findExternalInterface({ ifaces: [], regexes: [], canReach }, host);
    assertEquals([found.name, found.mtu], ["eth1", 1400]);
  });
  const nowhere = parseIPv4("8.8.8.8")!;
  await assertRejects(
    () => findExternalInterface({ ifaces: [], regexes: [], canReach: nowhere }, host),
    InterfaceError,
    "this host has no route to 8.8.8.8",
  );
});
