import { sleep } from "../async/sleep.ts";
import { formatIPv4, type IPv4, parseIPv4 } from "../ip/mod.ts";
import { type KernelEvent, monitor, type Netlink } from "../sys/mod.ts";
import { type HostTables, usableAddresses } from "./candidates.ts";
import { InterfaceError } from "./errors.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { InterfaceOptions } from "./options.ts";

/** Milliseconds to collect events: a restart of the network causes many. */
const COLLECT_MS = 200;

/**
 * Returns the present state of the interface that was chosen at start.
 *
 * An agent keeps the interface of that name, with its present index, MTU and address. A new choice could lead
 * away from an interface that is only being restarted, to an address that no other host reaches. The address
 * stays while the interface has it; the next one is the first that the operator's options allow.
 *
 * @param chosen the interface at start
 * @param current the address in use
 * @throws {InterfaceError} while the interface, or an allowed address, is missing
 */
export function stateOfInterface(
  options: InterfaceOptions,
  chosen: ExternalInterface,
  current: IPv4,
  host: Pick<HostTables, "links" | "addresses">,
): ExternalInterface {
  const { name } = chosen;
  const link = host.links.find((link) => link.name === name);
  if (link === undefined) throw new InterfaceError(`interface ${name} is gone`);
  const usable = usableAddresses({ ...host, routes: [] }, link.index);
  if (usable.length === 0) throw new InterfaceError(`interface ${name} has no IPv4 address`);
  const allows = allowed(options, chosen);
  const address = usable.find((address) => address === current) ?? usable.find(allows);
  if (address === undefined) {
    throw new InterfaceError(
      `interface ${name} has lost ${formatIPv4(current)}, and has no other address that ` +
        `${options.ifaces.length > 0 ? "-iface" : "-iface-regex or -public-ip"} asks for`,
    );
  }
  return {
    name,
    index: link.index,
    mtu: link.mtu,
    address,
    publicIP: options.publicIP ?? address,
  };
}

/** Returns a predicate for the addresses that the operator's options allow in place of the chosen one. */
function allowed(
  { ifaces, regexes, canReach, publicIP }: InterfaceOptions,
  { name, address: chosen }: ExternalInterface,
): (address: IPv4) => boolean {
  const any = () => true;
  if (ifaces.includes(name)) return any;
  const addresses = ifaces.map(parseIPv4);
  if (addresses.includes(chosen)) return (address) => addresses.includes(address);
  const matches = (regex: RegExp, text: string) => new RegExp(regex.source, regex.flags).test(text);
  const meant = regexes.filter((regex) => matches(regex, formatIPv4(chosen)));
  if (meant.length > 0) {
    return (address) => meant.some((regex) => matches(regex, formatIPv4(address)));
  }
  const unasked = ifaces.length === 0 && regexes.length === 0 && canReach === undefined;
  return unasked && publicIP === chosen ? (address) => address === publicIP : any;
}

/** Returns whether two states have the same name, index, MTU and addresses. */
export function sameInterface(a: ExternalInterface, b: ExternalInterface): boolean {
  return a.name === b.name && a.index === b.index && a.mtu === b.mtu && a.address === b.address &&
    a.publicIP === b.publicIP;
}

/** Describes a change: `eth1: address 172.28.128.101 is now 172.28.128.201, MTU 1500 is now 1400`. */
export function describeChange(before: ExternalInterface, after: ExternalInterface): string {
  const changes: string[] = [];
  const compare = (what: string, was: number | string, is: number | string) => {
    if (was !== is) changes.push(`${what} ${was} is now ${is}`);
  };
  compare("index", before.index, after.index);
  compare("address", formatIPv4(before.address), formatIPv4(after.address));
  compare("MTU", before.mtu, after.mtu);
  return `${after.name}: ${changes.join(", ")}`;
}

/** Options of {@linkcode InterfaceWatch}. */
export interface InterfaceWatchOptions {
  readonly options: InterfaceOptions;
  /** The interface chosen at start. */
  readonly chosen: ExternalInterface;
  readonly netlink: Pick<Netlink, "links" | "addresses">;
}

/** Follows the interface that was chosen at start, see {@linkcode stateOfInterface}. */
export class InterfaceWatch {
  readonly #parts: InterfaceWatchOptions;
  /** The state at the last poll. */
  #current: ExternalInterface;

  constructor(parts: InterfaceWatchOptions) {
    this.#parts = parts;
    this.#current = parts.chosen;
  }

  /**
   * Reads the interface from the kernel: one dump of the links and one of the addresses.
   *
   * @returns the present state; the same object as before when nothing differs
   * @throws {InterfaceError} while it cannot be used
   * @throws {SysError} when the kernel does not answer
   */
  poll(): ExternalInterface {
    const { options, chosen, netlink } = this.#parts;
    const host = { links: netlink.links(), addresses: netlink.addresses() };
    const seen = stateOfInterface(options, chosen, this.#current.address, host);
    if (!sameInterface(seen, this.#current)) this.#current = seen;
    return this.#current;
  }

  /**
   * Calls `onChange` after each change of the interface, and once at the start, since it may have changed
   * after the choice. Ends when `signal` aborts.
   *
   * @param netns path of a network namespace. @default the thread's own
   */
  async run(signal: AbortSignal, onChange: () => void, netns?: string): Promise<void> {
    const seen = monitor(["link", "address"], { signal, netns });
    onChange();
    const indices = new Set([this.#current.index]);
    for await (const events of seen) {
      // Check all events: each may add another index.
      if (events.filter((event) => this.#concerns(event, indices)).length === 0) continue;
      await sleep(COLLECT_MS, signal);
      if (!signal.aborted) onChange();
    }
  }

  #concerns(event: KernelEvent, indices: Set<number>): boolean {
    switch (event.type) {
      case "overrun":
        return true;
      case "link":
      case "link-removed": {
        const { name, index } = event.link;
        if (name === this.#current.name) indices.add(index);
        return indices.has(index);
      }
      case "address":
      case "address-removed":
        return indices.has(event.address.index);
      default:
        return false;
    }
  }
}
