import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../ip/mod.ts";
import type { Link } from "../sys/mod.ts";
import {
  couldServe,
  describeLink,
  describeLinks,
  type HostTables,
  isLoopback,
  isUp,
  usableAddresses,
} from "./candidates.ts";
import { InterfaceError } from "./errors.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { InterfaceOptions } from "./options.ts";

/**
 * Address and gateway of every machine on VirtualBox's NAT adapter (Vagrant's eth0) and on QEMU's user
 * network. Machines cannot reach each other there, and all would hold the same lease.
 */
const GUEST_NAT = { address: parseIPv4("10.0.2.15")!, gateway: parseIPv4("10.0.2.2")! };

/** Result of {@linkcode chooseInterface}. */
export interface InterfaceChoice {
  readonly external: ExternalInterface;
  /** Log lines of flannel about the choice, in order. */
  readonly steps: readonly string[];
  /** Present when the choice is likely to be wrong. */
  readonly warning?: string;
}

interface Found {
  readonly link: Link;
  /** Absent when the interface was chosen by its name or a route. */
  readonly address?: IPv4;
  readonly warning?: string;
}

/**
 * Chooses the interface that carries encapsulated packets, by flannel's rules.
 *
 * With `-iface`, `-iface-regex` or `-iface-can-reach`: the first match, in this order of flags. Without them:
 * the interface with the address `-public-ip`, else the interface of the default route with the lowest metric.
 *
 * @param host the kernel's tables, so that this is a pure function
 * @throws {InterfaceError} when no interface matches; names every candidate of the host
 */
export function chooseInterface(options: InterfaceOptions, host: HostTables): InterfaceChoice {
  const steps: string[] = [];
  const selectors = selectorsOf(options, host);
  const { link, address = addressOf(link, host), warning }: Found = selectors.length > 0
    ? firstMatch(selectors, host, steps)
    : byPublicIP(options, host, steps) ?? byDefaultRoute(options, host, steps);
  steps.push(`Using interface with name ${link.name} and address ${formatIPv4(address)}`);
  if (link.mtu === 0) {
    throw new InterfaceError(`failed to determine MTU for ${formatIPv4(address)} interface`);
  }
  steps.push(
    options.publicIP === undefined
      ? `Defaulting external address to interface address (${formatIPv4(address)})`
      : `Using ${formatIPv4(options.publicIP)} as external address`,
  );
  refuseEdge(options, link, host);
  const down = isUp(link) ? undefined : `interface ${link.name} is down`;
  return {
    external: {
      name: link.name,
      index: link.index,
      mtu: link.mtu,
      address,
      publicIP: options.publicIP ?? address,
    },
    steps,
    ...(warning !== undefined ? { warning } : down !== undefined ? { warning: down } : {}),
  };
}

/** @throws {InterfaceError} when `-public-ip` is a network or broadcast address of the interface */
function refuseEdge({ publicIP }: InterfaceOptions, { index, name }: Link, host: HostTables): void {
  for (const { address, prefixLength, index: of } of host.addresses) {
    // RFC 3021: a /31 has no such addresses.
    if (of !== index || prefixLength > 30) continue;
    const network = new Prefix(address, prefixLength);
    if (publicIP !== network.address && publicIP !== network.last) continue;
    const kind = publicIP === network.address ? "network" : "broadcast";
    throw new InterfaceError(
      `-public-ip=${formatIPv4(publicIP)} is the ${kind} address of ${network} on ${name}; ` +
        "give the address at which other hosts reach this host",
    );
  }
}

/** One flag that selects an interface. */
interface InterfaceSelector {
  readonly option: string;
  readonly value: string;
  /** @throws {InterfaceError} when no interface matches */
  readonly find: (steps: string[]) => Found;
}

function selectorsOf(options: InterfaceOptions, host: HostTables): InterfaceSelector[] {
  const selectors: InterfaceSelector[] = options.ifaces.map((value) => ({
    option: "-iface",
    value,
    find: (steps) => byNameOrAddress(value, host, steps),
  }));
  for (const regex of options.regexes) {
    selectors.push({
      option: "-iface-regex",
      value: regex.source,
      find: () => byRegex(regex, host),
    });
  }
  const { canReach } = options;
  if (canReach !== undefined) {
    selectors.push({
      option: "-iface-can-reach",
      value: formatIPv4(canReach),
      find: () => byReach(canReach, host),
    });
  }
  return selectors;
}

function firstMatch(
  selectors: readonly InterfaceSelector[],
  host: HostTables,
  steps: string[],
): Found {
  const misses: string[] = [];
  for (const { option, value, find } of selectors) {
    try {
      const found = find(steps);
      return { link: found.link, address: found.address ?? addressOf(found.link, host) };
    } catch (error) {
      if (!(error instanceof InterfaceError)) throw error;
      steps.push(`Could not find valid interface matching ${value}: ${error.message}`);
      misses.push(`${option}=${value}: ${error.message}`);
    }
  }
  throw new InterfaceError(
    (selectors.length === 1 ? misses[0] : "Failed to find interface to use that matches the " +
      `interfaces and/or regexes provided (${misses.join("; ")})`) + `; ${describeLinks(host)}`,
  );
}

function byNameOrAddress(value: string, host: HostTables, steps: string[]): Found {
  const address = parseIPv4(value);
  if (address !== undefined) {
    steps.push(`Searching for interface using ${value}`);
    const link = ownerOf(address, host);
    if (link !== undefined) return { link, address };
    throw new InterfaceError(
      `error looking up interface ${value}: No interface with given IP found`,
    );
  }
  const link = host.links.find(({ name }) => name === value);
  if (link !== undefined) return { link };
  throw new InterfaceError(
    `error looking up interface ${value}: route ip+net: no such network interface`,
  );
}

function byRegex(regex: RegExp, host: HostTables): Found {
  // `test` of a global or sticky expression continues where the last match ended.
  const matches = (text: string) =>
    new RegExp(regex.source, regex.flags.replace(/[gy]/g, ""))
      .test(text);
  for (const link of host.links) {
    const address = usableAddresses(host, link.index).find((ip) => matches(formatIPv4(ip)));
    if (address !== undefined) return { link, address };
  }
  const named = host.links.filter(({ name }) => matches(name));
  const link = named.find(({ index }) => usableAddresses(host, index).length > 0) ?? named[0];
  if (link !== undefined) return { link };
  throw new InterfaceError(
    `Could not match pattern ${regex.source} to any of the available network interfaces`,
  );
}

function byReach(target: IPv4, host: HostTables): Found {
  const { reach } = host;
  const link = host.links.find(({ index }) => index === reach?.oif);
  if (reach === undefined || link === undefined) {
    throw new InterfaceError(`this host has no route to ${formatIPv4(target)}`);
  }
  if (!isLoopback(link)) {
    return { link, ...(reach.source === undefined ? {} : { address: reach.source }) };
  }
  // The target may be this host itself, when all hosts share one sysconfig file.
  const owner = ownerOf(target, host);
  if (owner !== undefined && !isLoopback(owner)) return { link: owner, address: target };
  throw new InterfaceError(`the route to ${formatIPv4(target)} leads to the loopback device`);
}

function byPublicIP(
  { publicIP }: InterfaceOptions,
  host: HostTables,
  steps: string[],
): Found | undefined {
  if (publicIP === undefined) return undefined;
  const link = ownerOf(publicIP, host);
  if (link === undefined) return undefined;
  steps.push(`Searching for interface using ${formatIPv4(publicIP)}`);
  return { link, address: publicIP };
}

function byDefaultRoute(
  { publicIP }: InterfaceOptions,
  host: HostTables,
  steps: string[],
): Found {
  steps.push("Determining IP address of default interface");
  const advice = `name the interface with -iface; ${describeLinks(host)}`;
  // Array.prototype.sort is stable: of equal metrics the kernel's first stays first.
  const [route] = host.routes.filter(({ destination }) => destination.length === 0)
    .sort((a, b) => a.metric - b.metric);
  if (route === undefined) {
    throw new InterfaceError(
      `failed to get default interface: Unable to find default route; ${advice}`,
    );
  }
  const link = host.links.find(({ index }) => index === route.oif);
  if (link === undefined) {
    throw new InterfaceError(
      `failed to get default interface: Found default route but could not determine interface; ` +
        advice,
    );
  }
  const address = addressOf(link, host);
  const others = host.links.filter((other) => other !== link && couldServe(host, other));
  const taken = `took ${link.name} (${formatIPv4(address)}), since the default route leaves by it`;
  const instead = others.length === 0
    ? undefined
    : `${others.map((other) => describeLink(host, other)).join(", ")} could serve as well: ` +
      `name the right one, for example -iface=${others[0]!.name}`;
  if (
    address === GUEST_NAT.address && route.gateway === GUEST_NAT.gateway && publicIP === undefined
  ) {
    return {
      link,
      address,
      warning:
        `${taken}; but VirtualBox (hence Vagrant) and QEMU give every machine this address, ` +
        `and no other host reaches it; ` +
        (instead ?? "give the machine a network shared with the other hosts"),
    };
  }
  if (instead !== undefined) steps.push(`${taken}; ${instead}`);
  return { link, address };
}

function ownerOf(address: IPv4, host: HostTables): Link | undefined {
  const index = host.addresses.find((candidate) => candidate.address === address)?.index;
  return host.links.find((link) => link.index === index);
}

function addressOf(link: Link, host: HostTables): IPv4 {
  const [address] = usableAddresses(host, link.index);
  if (address !== undefined) return address;
  throw new InterfaceError(`failed to find IPv4 address for interface ${link.name}`);
}
