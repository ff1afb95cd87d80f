import { sleep } from "../../async/sleep.ts";
import { ConfigError, isPrivateRange } from "../../config/mod.ts";
import { type ExternalInterface, nameServers } from "../../host/mod.ts";
import { formatIPv4, type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import { endpointHosts, type StoreOptions } from "../../store/options.ts";
import type { HostTables } from "../../../backends/host_routes.ts";

/** Limit for the look-up of the store's endpoint names, in milliseconds. */
const LOOK_UP_LIMIT = 2_000;

/** A network that other hosts may be able to use, but not this one. The message is one line. */
export class NetworkRefusedError extends ConfigError {}

/** An address that packets of this host itself go to. */
export interface NeededAddress {
  readonly address: IPv4;
  /** `this host's default gateway` */
  readonly what: string;
}

/** Addresses and networks of this host that a `Network` must not contain. */
export interface HostNeeds {
  readonly external: Pick<ExternalInterface, "name">;
  readonly needed: readonly NeededAddress[];
  /** Networks that the external interface is on. */
  readonly underlay: readonly Prefix[];
  /** Ranges that are allowed though they are not private: `-allowed-networks`. */
  readonly allowed: readonly Prefix[];
}

/** Input of {@linkcode requireUsableNetwork}. */
export interface UsableNetworkOptions {
  readonly store: StoreOptions;
  readonly allowedNetworks: readonly Prefix[];
  readonly external: ExternalInterface;
  readonly tables: HostTables;
}

/**
 * Checks that a network contains no address that the host itself needs. Without the check a writer of the store
 * could redirect the host's own traffic, or cut the host off from the store.
 *
 * @throws {NetworkRefusedError} when it contains one
 */
export async function requireUsableNetwork(
  network: Prefix,
  { store, allowedNetworks, external, tables }: UsableNetworkOptions,
): Promise<void> {
  const { address, publicIP, name, index } = external;
  const gateways = tables.routes.flatMap(({ destination, gateway }) =>
    destination.length === 0 && gateway !== undefined ? [gateway] : []
  );
  const refusal = networkRefusal(network, {
    external,
    needed: [
      { address, what: `this host's address on ${name}` },
      { address: publicIP, what: "this host's public IP" },
      ...gateways.map((address) => ({ address, what: "this host's default gateway" })),
      ...await endpointAddresses(store),
      ...nameServers().map((address) => ({
        address,
        what: "a name server of this host (resolv.conf)",
      })),
    ],
    underlay: tables.addresses
      .filter((one) => one.index === index && one.prefixLength < 32)
      .map(({ address, prefixLength }) => new Prefix(address, prefixLength)),
    allowed: allowedNetworks,
  });
  if (refusal !== undefined) throw new NetworkRefusedError(refusal);
}

/** Returns why a network cannot be used on a host; `undefined` when it can. */
export function networkRefusal(
  network: Prefix,
  { external, needed, underlay, allowed }: HostNeeds,
): string | undefined {
  const instead = "choose a Network that no host, gateway or server is in";
  const held = needed.find(({ address }) => network.contains(address));
  if (held !== undefined) {
    return `Network ${network} contains ${formatIPv4(held.address)}, ${held.what}; ${instead}`;
  }
  const met = underlay.find((prefix) => prefix.overlaps(network));
  if (met !== undefined) {
    return `Network ${network} overlaps ${met}, the network of ${external.name}; ${instead}`;
  }
  if (isPrivateRange(network) || allowed.some((range) => range.containsPrefix(network))) {
    return undefined;
  }
  return `Network ${network} is no private range (RFC 1918, RFC 6598): choose one, or start the ` +
    `agent with -allowed-networks=${network} where these addresses are yours`;
}

/** Returns the addresses of the store's endpoints, as their names resolve now. */
async function endpointAddresses(store: StoreOptions): Promise<NeededAddress[]> {
  const limit = new AbortController();
  const late = sleep(LOOK_UP_LIMIT, limit.signal).then((): IPv4[] => []);
  const found = await Promise.all(
    endpointHosts(store).map(async (host) => {
      const literal = parseIPv4(host);
      const addresses = literal === undefined
        ? await Promise.race([lookUp(host), late])
        : [literal];
      const named = literal === undefined ? `store endpoint ${host}` : "a store endpoint";
      return addresses.map((address) => ({ address, what: `the address of ${named}` }));
    }),
  );
  limit.abort();
  return found.flat();
}

/** Looks a name up as the store's client does, in /etc/hosts first. A name without an address is no obstacle. */
async function lookUp(host: string): Promise<IPv4[]> {
  const { lookup } = await import("node:dns/promises");
  try {
    const answers = await lookup(host, { family: 4, all: true });
    return answers.flatMap(({ address }) => parseIPv4(address) ?? []);
  } catch {
    return [];
  }
}
