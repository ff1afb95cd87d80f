import { assertEquals, assertThrows } from "@std/assert";
import { formatIPv4, type IPv4, parseIPv4 } from "../ip/mod.ts";
import type { InterfaceAddress, Link } from "../sys/mod.ts";
import { InterfaceError } from "./errors.ts";
import type { ExternalInterface } from "./external_interface.ts";
import {
  describeChange,
  InterfaceWatch,
  sameInterface,
  stateOfInterface,
} from "./interface_watch.ts";
import type { InterfaceOptions } from "./options.ts";

const UP = 0x1043; // IFF_UP, IFF_BROADCAST, IFF_RUNNING, IFF_MULTICAST
const NONE: InterfaceOptions = { ifaces: [], regexes: [] };

const ip = (text: string): IPv4 => parseIPv4(text)!;

const CHOSEN: ExternalInterface = {
  name: "eth1",
  index: 3,
  mtu: 1500,
  address: ip("172.28.128.101"),
  publicIP: ip("172.28.128.101"),
};

/** A host with eth0, which has the default route's address, and eth1. */
function host(
  addresses: readonly string[],
  { name = "eth1", index = 3, mtu = 1500 }: Partial<Link> = {},
): { links: Link[]; addresses: InterfaceAddress[] } {
  const address = (index: number, text: string): InterfaceAddress => ({
    index,
    address: ip(text),
    prefixLength: 24,
    scope: 0,
    flags: 0x80,
  });
  return {
    links: [
      { index: 2, name: "eth0", flags: UP, mtu: 1500 },
      { index, name, flags: UP, mtu },
    ],
    addresses: [
      address(2, "10.0.2.15"),
      ...addresses.map((text) => address(index, text)),
    ],
  };
}

/** The address in use afterwards. */
function addressOf(
  options: Partial<InterfaceOptions>,
  addresses: readonly string[],
  current = CHOSEN.address,
): string {
  const state = stateOfInterface({ ...NONE, ...options }, CHOSEN, current, host(addresses));
  return formatIPv4(state.address);
}

Deno.test("stateOfInterface() is what was chosen while nothing happens", () => {
  assertEquals(stateOfInterface(NONE, CHOSEN, CHOSEN.address, host(["172.28.128.101"])), CHOSEN);
});

Deno.test("stateOfInterface() follows the interface to another index and MTU", () => {
  const seen = stateOfInterface(
    NONE,
    CHOSEN,
    CHOSEN.address,
    host(["172.28.128.101"], { index: 9, mtu: 1400 }),
  );
  assertEquals(seen, { ...CHOSEN, index: 9, mtu: 1400 });
  assertEquals(describeChange(CHOSEN, seen), "eth1: index 3 is now 9, MTU 1500 is now 1400");
});

Deno.test("stateOfInterface() keeps the address for as long as it is there", () => {
  assertEquals(addressOf({}, ["172.28.128.50", "172.28.128.101"]), "172.28.128.101");
  assertEquals(
    addressOf({}, ["172.28.128.101", "172.28.128.50"], ip("172.28.128.50")),
    "172.28.128.50",
  );
});

Deno.test("stateOfInterface() takes another address when its own is gone", () => {
  for (const options of [{}, { ifaces: ["eth1"] }, { regexes: [/^eth/] }]) {
    assertEquals(addressOf(options, ["172.28.128.201"]), "172.28.128.201");
  }
  const seen = stateOfInterface(NONE, CHOSEN, CHOSEN.address, host(["172.28.128.201"]));
  assertEquals(seen.publicIP, seen.address);
  assertEquals(
    describeChange(CHOSEN, seen),
    "eth1: address 172.28.128.101 is now 172.28.128.201",
  );
});

Deno.test("stateOfInterface() keeps -public-ip, whatever the interface's address is", () => {
  const publicIP = ip("203.0.113.7");
  const chosen = { ...CHOSEN, publicIP };
  const seen = stateOfInterface(
    { ...NONE, publicIP },
    chosen,
    chosen.address,
    host(["172.28.128.201"]),
  );
  assertEquals([formatIPv4(seen.address), seen.publicIP], ["172.28.128.201", publicIP]);
});

Deno.test("stateOfInterface() waits for an address that was asked for, and takes no other", () => {
  const asked: readonly (readonly [Partial<InterfaceOptions>, string])[] = [
    [{ ifaces: ["172.28.128.101"] }, "-iface"],
    [{ regexes: [/^172\.28\.128\.101$/] }, "-iface-regex or -public-ip"],
    [{ publicIP: ip("172.28.128.101") }, "-iface-regex or -public-ip"],
  ];
  for (const [options, flags] of asked) {
    assertThrows(
      () => addressOf(options, ["172.28.129.9"]),
      InterfaceError,
      "interface eth1 has lost 172.28.128.101, and has no other address that " +
        `${flags} asks for`,
    );
  }
  // Another that was asked for will do.
  assertEquals(
    addressOf({ ifaces: ["172.28.128.101", "172.28.129.9"] }, ["172.28.129.9"]),
    "172.28.129.9",
  );
  assertEquals(addressOf({ regexes: [/^172\.28\./g] }, ["172.28.129.9"]), "172.28.129.9");
});

Deno.test("stateOfInterface() waits for the interface rather than take another", () => {
  for (const options of [NONE, { ...NONE, ifaces: ["eth1", "eth0"] }]) {
    assertThrows(
      () => stateOfInterface(options, CHOSEN, CHOSEN.address, host([])),
      InterfaceError,
      "interface eth1 has no IPv4 address",
    );
    assertThrows(
      () =>
        stateOfInterface(
          options,
          CHOSEN,
          CHOSEN.address,
          host(["172.28.128.101"], { name: "eth7" }),
        ),
      InterfaceError,
      "interface eth1 is gone",
    );
  }
});

Deno.test("sameInterface() compares everything that packets depend on", () => {
  assertEquals(sameInterface(CHOSEN, { ...CHOSEN }), true);
  for (const change of [{ name: "x" }, { index: 1 }, { mtu: 1 }, { address: 1 }, { publicIP: 1 }]) {
    assertEquals(sameInterface(CHOSEN, { ...CHOSEN, ...change }), false, JSON.stringify(change));
  }
});

Deno.test("InterfaceWatch.poll() returns the same object until something differs", () => {
  let now = host(["172.28.128.101"]);
  const watch = new InterfaceWatch({
    options: NONE,
    chosen: CHOSEN,
    netlink: { links: () => now.links, addresses: () => now.addresses },
  });
  assertEquals(watch.poll() === CHOSEN, true);
  now = host(["172.28.128.201"]);
  const moved = watch.poll();
  assertEquals([formatIPv4(moved.address), watch.poll() === moved], ["172.28.128.201", true]);
  now = host([]);
  assertThrows(() => watch.poll(), InterfaceError);
  // The old address is back beside the new one, which stays.
  now = host(["172.28.128.101", "172.28.128.201"]);
  assertEquals(watch.poll() === moved, true);
});
