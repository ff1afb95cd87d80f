import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatIPv4, parseIPv4, Prefix } from "../ip/mod.ts";
import type { InterfaceAddress, Link, Route } from "../sys/mod.ts";
import type { HostTables } from "./candidates.ts";
import { chooseInterface } from "./choose_interface.ts";
import { InterfaceError } from "./errors.ts";
import type { InterfaceOptions } from "./options.ts";

const UP = 0x1043; // IFF_UP, IFF_BROADCAST, IFF_RUNNING, IFF_MULTICAST
const LOOPBACK = 0x49; // IFF_UP, IFF_LOOPBACK, IFF_RUNNING
const PERMANENT = 0x80;
const DYNAMIC = 0;
const DEPRECATED = 0x20;

interface Nic {
  readonly name: string;
  readonly flags?: number;
  readonly mtu?: number;
  /** `a.b.c.d/n`, or that with IFA_F_* */
  readonly addresses?: readonly (string | readonly [string, number])[];
}

const LO: Nic = { name: "lo", flags: LOOPBACK, mtu: 65536, addresses: ["127.0.0.1/8"] };
const ETH0: Nic = { name: "eth0", addresses: [["10.0.2.15/24", DYNAMIC]] };
const ETH1: Nic = { name: "eth1", addresses: ["172.28.128.101/24"] };
const DOCKER0: Nic = { name: "docker0", addresses: ["10.20.48.1/24"] };

/** A host with these interfaces, numbered from 1, and a default route by each of `defaults`. */
function host(
  nics: readonly Nic[],
  defaults: readonly { by: string; gateway?: string; metric?: number }[] = [],
): HostTables {
  const links = nics.map(({ name, flags = UP, mtu = 1500 }, i): Link => ({
    index: i + 1,
    name,
    flags,
    mtu,
  }));
  const indexOf = (name: string) => links.find((link) => link.name === name)?.index ?? 0;
  return {
    links,
    addresses: nics.flatMap(({ addresses = [] }, i) =>
      addresses.map((entry): InterfaceAddress => {
        const [text, flags] = typeof entry === "string" ? [entry, PERMANENT] : entry;
        const [address, length] = text.split("/");
        return {
          index: i + 1,
          address: parseIPv4(address!)!,
          prefixLength: Number(length),
          scope: 0,
          flags,
        };
      })
    ),
    routes: defaults.map(({ by, gateway, metric = 0 }): Route => ({
      destination: new Prefix(0, 0),
      ...(gateway === undefined ? {} : { gateway: parseIPv4(gateway)! }),
      oif: indexOf(by),
      onlink: false,
      protocol: 3,
      scope: 0,
      table: 254,
      metric,
    })),
  };
}

function options(given: Partial<InterfaceOptions> = {}): InterfaceOptions {
  return { ifaces: [], regexes: [], ...given };
}

const VAGRANT = host([LO, ETH0, ETH1, DOCKER0], [{ by: "eth0", gateway: "10.0.2.2", metric: 100 }]);

/** `name address public` of the choice. */
function chosen(given: Partial<InterfaceOptions>, tables: HostTables): string {
  const { name, address, publicIP } = chooseInterface(options(given), tables).external;
  return `${name} ${formatIPv4(address)} ${formatIPv4(publicIP)}`;
}

const messageOf = (given: Partial<InterfaceOptions>, tables: HostTables) =>
  assertThrows(() => chooseInterface(options(given), tables), InterfaceError).message;

const VAGRANT_LINKS = "this host has eth0 (10.0.2.15), eth1 (172.28.128.101), " +
  "docker0 (10.20.48.1, for containers), lo (127.0.0.1, loopback)";

Deno.test("chooseInterface() takes -iface by name", () => {
  const choice = chooseInterface(options({ ifaces: ["eth1"] }), VAGRANT);
  assertEquals(choice, {
    external: {
      name: "eth1",
      index: 3,
      mtu: 1500,
      address: parseIPv4("172.28.128.101")!,
      publicIP: parseIPv4("172.28.128.101")!,
    },
    steps: [
      "Using interface with name eth1 and address 172.28.128.101",
      "Defaulting external address to interface address (172.28.128.101)",
    ],
  });
});

Deno.test("chooseInterface() takes -iface by address, and advertises -public-ip", () => {
  const two = { name: "eth2", addresses: ["192.168.1.1/24", "192.168.1.9/24"] };
  const choice = chooseInterface(
    options({ ifaces: ["192.168.1.9"], publicIP: parseIPv4("9.9.9.9")! }),
    host([LO, ETH1, two]),
  );
  assertEquals(formatIPv4(choice.external.address), "192.168.1.9");
  assertEquals(formatIPv4(choice.external.publicIP), "9.9.9.9");
  assertEquals(choice.steps, [
    "Searching for interface using 192.168.1.9",
    "Using interface with name eth2 and address 192.168.1.9",
    "Using 9.9.9.9 as external address",
  ]);
});

Deno.test("chooseInterface() takes the first of several -iface that exists", () => {
  const choice = chooseInterface(
    options({ ifaces: ["nope", "1.2.3.4", "eth1", "eth0"] }),
    VAGRANT,
  );
  assertEquals(choice.external.name, "eth1");
  assertEquals(choice.steps.slice(0, 3), [
    "Could not find valid interface matching nope: error looking up interface nope: " +
    "route ip+net: no such network interface",
    "Searching for interface using 1.2.3.4",
    "Could not find valid interface matching 1.2.3.4: error looking up interface 1.2.3.4: " +
    "No interface with given IP found",
  ]);
});

Deno.test("chooseInterface() goes on where an -iface has no address", () => {
  const bare = { name: "eth9" };
  assertEquals(
    chosen({ ifaces: ["eth9", "eth1"] }, host([LO, bare, ETH1])),
    "eth1 172.28.128.101 172.28.128.101",
  );
});

Deno.test("chooseInterface() names every candidate when an -iface fits nothing", () => {
  assertEquals(
    messageOf({ ifaces: ["nope"] }, VAGRANT),
    "-iface=nope: error looking up interface nope: route ip+net: no such network interface; " +
      VAGRANT_LINKS,
  );
  assertEquals(
    messageOf({ ifaces: ["1.2.3.4"] }, VAGRANT),
    "-iface=1.2.3.4: error looking up interface 1.2.3.4: No interface with given IP found; " +
      VAGRANT_LINKS,
  );
  assertEquals(
    messageOf({ ifaces: ["lo"] }, VAGRANT),
    `-iface=lo: failed to find IPv4 address for interface lo; ${VAGRANT_LINKS}`,
  );
});

Deno.test("chooseInterface() gives each reason when several options fit nothing", () => {
  assertEquals(
    messageOf({ ifaces: ["nope"], regexes: [/^ens/], canReach: parseIPv4("8.8.8.8")! }, VAGRANT),
    "Failed to find interface to use that matches the interfaces and/or regexes provided " +
      "(-iface=nope: error looking up interface nope: route ip+net: no such network interface; " +
      "-iface-regex=^ens: Could not match pattern ^ens to any of the available network interfaces; " +
      `-iface-can-reach=8.8.8.8: this host has no route to 8.8.8.8); ${VAGRANT_LINKS}`,
  );
});

Deno.test("chooseInterface() names what disqualifies each candidate", () => {
  const tables = host([
    LO,
    { name: "eth0", flags: 0x1002, addresses: ["10.1.1.1/24"] },
    { name: "eth1" },
    { name: "eth2", addresses: [["10.1.2.1/24", DEPRECATED]] },
    { name: "flannel.1", addresses: ["10.20.5.0/32"] },
    { name: "wlan0", addresses: ["192.168.0.7/24"] },
  ]);
  assertStringIncludes(
    messageOf({ ifaces: ["nope"] }, tables),
    "this host has wlan0 (192.168.0.7), eth0 (10.1.1.1, down), eth1 (no IPv4 address), " +
      "eth2 (10.1.2.1 deprecated), flannel.1 (10.20.5.0, for containers), " +
      "lo (127.0.0.1, loopback)",
  );
});

Deno.test("chooseInterface() keeps the message short on a host full of containers", () => {
  const veths = Array.from({ length: 300 }, (_, i): Nic => ({ name: `veth${i}` }));
  const message = messageOf({ ifaces: ["nope"] }, host([LO, ...veths, ETH1]));
  assertStringIncludes(message, "this host has eth1 (172.28.128.101), veth0 (no IPv4 address)");
  assertStringIncludes(message, " and 290 more");
});

Deno.test("chooseInterface() matches -iface-regex against addresses before names", () => {
  const tables = host([
    LO,
    { name: "net172.28", addresses: ["10.9.9.9/24"] },
    { name: "eth0", addresses: ["10.0.2.15/24"] },
    { name: "eth1", addresses: ["192.168.1.1/24", "172.28.128.101/24"] },
  ]);
  assertEquals(
    chosen({ regexes: [/172\.28/] }, tables),
    "eth1 172.28.128.101 172.28.128.101",
  );
  assertEquals(chosen({ regexes: [/^eth[1-9]$/] }, tables), "eth1 192.168.1.1 192.168.1.1");
});

Deno.test("chooseInterface() passes over names without an address that -iface-regex matches", () => {
  const tables = host([LO, { name: "eth0" }, { name: "eth1", addresses: ["10.1.1.1/24"] }]);
  assertEquals(chosen({ regexes: [/eth/] }, tables), "eth1 10.1.1.1 10.1.1.1");
  assertStringIncludes(
    messageOf({ regexes: [/eth0/] }, tables),
    "-iface-regex=eth0: failed to find IPv4 address for interface eth0",
  );
});

Deno.test("chooseInterface() keeps no state in a global regular expression", () => {
  const global = /eth/g;
  for (let i = 0; i < 3; i++) {
    assertEquals(chosen({ regexes: [global] }, host([LO, ETH1])).split(" ")[0], "eth1");
  }
});

Deno.test("chooseInterface() prefers -iface to -iface-regex to -iface-can-reach", () => {
  const tables = { ...VAGRANT, reach: { oif: 4 } };
  const canReach = parseIPv4("10.20.48.9")!;
  const nameOf = (given: Partial<InterfaceOptions>) => chosen(given, tables).split(" ")[0];
  assertEquals(nameOf({ ifaces: ["eth0"], regexes: [/eth1/], canReach }), "eth0");
  assertEquals(nameOf({ ifaces: ["nope"], regexes: [/eth1/], canReach }), "eth1");
  assertEquals(nameOf({ ifaces: ["nope"], regexes: [/nope/], canReach }), "docker0");
});

Deno.test("chooseInterface() takes the interface and source of the route to -iface-can-reach", () => {
  const tables = host([LO, ETH0, { name: "eth1", addresses: ["10.5.0.1/24", "10.5.0.2/24"] }]);
  const canReach = parseIPv4("10.5.0.77")!;
  const source = parseIPv4("10.5.0.2")!;
  assertEquals(
    chosen({ canReach }, { ...tables, reach: { oif: 3, source } }),
    "eth1 10.5.0.2 10.5.0.2",
  );
  assertEquals(chosen({ canReach }, { ...tables, reach: { oif: 3 } }), "eth1 10.5.0.1 10.5.0.1");
});

Deno.test("chooseInterface() finds itself when -iface-can-reach is this host's own address", () => {
  const canReach = parseIPv4("172.28.128.101")!;
  const reach = { oif: 1, source: canReach };
  assertEquals(
    chosen({ canReach }, { ...VAGRANT, reach }),
    "eth1 172.28.128.101 172.28.128.101",
  );
  assertStringIncludes(
    messageOf({ canReach: parseIPv4("127.0.0.5")! }, { ...VAGRANT, reach: { oif: 1 } }),
    "the route to 127.0.0.5 leads to the loopback device",
  );
});

Deno.test("chooseInterface() takes the interface that has -public-ip", () => {
  const choice = chooseInterface(options({ publicIP: parseIPv4("172.28.128.101")! }), VAGRANT);
  assertEquals(choice.external.name, "eth1");
  assertEquals(choice.warning, undefined);
  assertEquals(choice.steps, [
    "Searching for interface using 172.28.128.101",
    "Using interface with name eth1 and address 172.28.128.101",
    "Using 172.28.128.101 as external address",
  ]);
});

Deno.test("chooseInterface() takes the default route where -public-ip is a NAT's", () => {
  assertEquals(chosen({ publicIP: parseIPv4("9.9.9.9")! }, VAGRANT), "eth0 10.0.2.15 9.9.9.9");
});

Deno.test("chooseInterface() refuses a -public-ip that no host of the interface's network has", () => {
  for (const [address, kind] of [["172.28.128.0", "network"], ["172.28.128.255", "broadcast"]]) {
    const error = assertThrows(
      () => chooseInterface(options({ ifaces: ["eth1"], publicIP: parseIPv4(address!)! }), VAGRANT),
      InterfaceError,
    );
    assertEquals(
      error.message,
      `-public-ip=${address} is the ${kind} address of 172.28.128.0/24 on eth1; give the address ` +
        "at which other hosts reach this host",
    );
  }
});

Deno.test("chooseInterface() takes the default route with the lowest metric, else the first", () => {
  const nics = [LO, ETH0, ETH1, { name: "eth2", addresses: ["10.3.0.1/24"] }];
  const by = (...metrics: number[]) =>
    chosen({}, host(nics, metrics.map((metric, i) => ({ by: `eth${i}`, metric })))).split(" ")[0];
  assertEquals(by(300, 100, 200), "eth1");
  assertEquals(by(100, 100, 100), "eth0");
  assertEquals(by(200, 100, 100), "eth1");
});

Deno.test("chooseInterface() names the interface of the default route and the other candidates", () => {
  const choice = chooseInterface(
    options(),
    host([LO, { name: "ens3", addresses: ["10.7.0.5/24"] }, ETH1, DOCKER0], [{ by: "ens3" }]),
  );
  assertEquals(choice.warning, undefined);
  assertEquals(choice.steps, [
    "Determining IP address of default interface",
    "took ens3 (10.7.0.5), since the default route leaves by it; eth1 (172.28.128.101) could " +
    "serve as well: name the right one, for example -iface=eth1",
    "Using interface with name ens3 and address 10.7.0.5",
    "Defaulting external address to interface address (10.7.0.5)",
  ]);
});

Deno.test("chooseInterface() does not comment on the only interface", () => {
  const choice = chooseInterface(options(), host([LO, ETH1, DOCKER0], [{ by: "eth1" }]));
  assertEquals(choice.warning, undefined);
  assertEquals(choice.steps, [
    "Determining IP address of default interface",
    "Using interface with name eth1 and address 172.28.128.101",
    "Defaulting external address to interface address (172.28.128.101)",
  ]);
});

Deno.test("chooseInterface() warns about the address that VirtualBox gives every machine", () => {
  assertEquals(
    chooseInterface(options(), VAGRANT).warning,
    "took eth0 (10.0.2.15), since the default route leaves by it; but VirtualBox (hence Vagrant) " +
      "and QEMU give every machine this address, and no other host reaches it; " +
      "eth1 (172.28.128.101) could serve as well: name the right one, for example -iface=eth1",
  );
  const alone = host([LO, ETH0], [{ by: "eth0", gateway: "10.0.2.2" }]);
  assertStringIncludes(
    chooseInterface(options(), alone).warning!,
    "give the machine a network shared with the other hosts",
  );
});

Deno.test("chooseInterface() does not warn about 10.0.2.15 on a network that routes", () => {
  const routed = host([LO, ETH0], [{ by: "eth0", gateway: "10.0.2.1" }]);
  assertEquals(chooseInterface(options(), routed).warning, undefined);
  assertEquals(chooseInterface(options({ ifaces: ["eth0"] }), VAGRANT).warning, undefined);
});

Deno.test("chooseInterface() names what the default route lacks", () => {
  assertEquals(
    messageOf({}, host([LO, ETH0, ETH1])),
    "failed to get default interface: Unable to find default route; name the interface with " +
      "-iface; this host has eth0 (10.0.2.15), eth1 (172.28.128.101), lo (127.0.0.1, loopback)",
  );
  assertStringIncludes(
    messageOf({}, host([LO, ETH0], [{ by: "gone" }])),
    "failed to get default interface: Found default route but could not determine interface; " +
      "name the interface with -iface; this host has eth0",
  );
  assertStringIncludes(
    messageOf({}, host([LO, { name: "ppp0" }], [{ by: "ppp0" }])),
    "failed to find IPv4 address for interface ppp0",
  );
});

Deno.test("chooseInterface() orders addresses: global, permanent, not deprecated", () => {
  const nic = (...addresses: (string | readonly [string, number])[]) =>
    chosen({ ifaces: ["eth0"] }, host([LO, { name: "eth0", addresses }])).split(" ")[1];
  assertEquals(nic("169.254.3.4/16", "10.1.1.1/24"), "10.1.1.1");
  assertEquals(nic("169.254.3.4/16", ["10.1.1.1/24", DYNAMIC]), "10.1.1.1");
  assertEquals(nic(["10.1.1.1/24", DYNAMIC], "10.1.1.2/24"), "10.1.1.2");
  assertEquals(nic(["10.1.1.1/24", PERMANENT | DEPRECATED], ["10.1.1.2/24", DYNAMIC]), "10.1.1.2");
  assertEquals(nic("10.1.1.1/24", "10.1.1.2/24"), "10.1.1.1");
  assertEquals(nic("169.254.3.4/16"), "169.254.3.4");
});

Deno.test("chooseInterface() cannot work without an MTU", () => {
  assertEquals(
    messageOf({ ifaces: ["eth1"] }, host([{ ...ETH1, mtu: 0 }])),
    "failed to determine MTU for 172.28.128.101 interface",
  );
});

Deno.test("chooseInterface() warns about an interface that is down", () => {
  const tables = host([{ ...ETH1, flags: 0x1002 }]);
  assertEquals(
    chooseInterface(options({ ifaces: ["eth1"] }), tables).warning,
    "interface eth1 is down",
  );
});

Deno.test("chooseInterface() gives an address of the interface it gives, or an InterfaceError", () => {
  const address = fc.tuple(fc.nat(3), fc.nat(3)).map(([a, b]) => `10.0.${a}.${b}`);
  const nic = (i: number) =>
    fc.record({
      name: fc.constant(`eth${i}`),
      flags: fc.constantFrom(UP, LOOPBACK, 0x1002),
      mtu: fc.constantFrom(0, 1500),
      addresses: fc.array(
        fc.tuple(
          address.map((text) => `${text}/24`),
          fc.constantFrom(PERMANENT, DYNAMIC, DEPRECATED),
        ),
        { maxLength: 3 },
      ),
    });
  const ip = address.map((text) => parseIPv4(text)!);
  const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
  fc.assert(
    fc.property(
      fc.tuple(nic(0), nic(1), nic(2)),
      fc.array(fc.record({ by: fc.constantFrom("eth0", "eth2", "no"), metric: fc.nat(2) })),
      fc.array(fc.oneof(address, fc.constantFrom("eth0", "eth1", "no")), { maxLength: 2 }),
      maybe(ip),
      maybe(ip),
      maybe(fc.nat(4)),
      (nics, defaults, ifaces, publicIP, canReach, oif) => {
        const tables = host(nics, defaults);
        let choice;
        try {
          choice = chooseInterface(
            {
              ifaces,
              regexes: [],
              ...(publicIP === undefined ? {} : { publicIP }),
              ...(canReach === undefined ? {} : { canReach }),
            },
            oif === undefined ? tables : { ...tables, reach: { oif } },
          );
        } catch (error) {
          if (!(error instanceof InterfaceError)) throw error;
          return;
        }
        const { external } = choice;
        assertEquals(
          tables.links.find(({ name }) => name === external.name)?.index,
          external.index,
        );
        const own = tables.addresses.filter(({ index }) => index === external.index);
        assertEquals(own.some(({ address }) => address === external.address), true);
        assertEquals(external.publicIP, publicIP ?? external.address);
      },
    ),
    { numRuns: 2000 },
  );
});
