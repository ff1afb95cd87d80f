/**
 * A host's kernel objects of the network, and the desired ones by the store's leases: independent of the
 * agent's own code, so that a mistake there shows.
 *
 * @module
 */
import type { GuideBackend } from "../e2e/guide.ts";

/** A lease as far as the kernel is concerned. */
export interface LeaseFacts {
  /** `10.20.93.0/24` */
  readonly subnet: string;
  readonly publicIP: string;
  readonly vtepMac?: string;
}

/** Used members of `ip -j route`. */
export interface RouteJson {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly table?: string;
  readonly type?: string;
  readonly flags?: readonly string[];
  readonly [key: string]: unknown;
}

/** iproute2's output for a host. */
export interface KernelDump {
  readonly routes: readonly RouteJson[];
  readonly neighbours: readonly {
    readonly dst: string;
    readonly lladdr?: string;
    readonly dev: string;
  }[];
  readonly fdb: readonly { readonly mac: string; readonly dst?: string; readonly ifname: string }[];
}

/** Prints all of a {@linkcode KernelDump}, one JSON value a line. */
export const DUMP_COMMAND = [
  "ip -j -4 route show table all",
  "ip -j -4 neigh show nud permanent",
  "bridge -j fdb show",
].map((line) => `${line} | tr -d '\\n'; echo`).join("; ");

/** Reads what {@linkcode DUMP_COMMAND} printed. @throws {SyntaxError} when a command failed */
export function parseDump(text: string): KernelDump {
  const [routes, neighbours, fdb] = text.trim().split("\n").map((line) => JSON.parse(line));
  return { routes, neighbours, fdb };
}

/** Ranges that tests put container networks in: 10.20.0.0 to 10.250.255.255. */
export function isContainerAddress(address: string): boolean {
  const [, first, second] = /^(\d+)\.(\d+)\./.exec(address) ?? [];
  return first === "10" && Number(second) >= 20 && Number(second) <= 250;
}

/** Routes that are no container network's, which no agent may touch; sorted, a line each. */
export function hostRoutes({ routes }: KernelDump): string[] {
  return routes.filter(({ dst }) => !isContainerAddress(dst)).map((
    { dst, gateway, dev, protocol, table, type, metric, prefsrc, scope },
  ) => JSON.stringify({ dst, gateway, dev, protocol, table, type, metric, prefsrc, scope })).sort();
}

/** Returns a host's kernel objects for peers, sorted, one line each. */
export function programmedObjects(
  { routes, neighbours, fdb }: KernelDump,
  { device }: GuideBackend,
): string[] {
  const lines = routes.filter(({ protocol }) => protocol === "102").map((route) => {
    const { dst, gateway, dev, type, flags = [] } = route;
    return [
      ...[type === undefined || type === "unicast" ? "route" : `${type} route`, dst],
      ...(gateway === undefined ? [] : ["via", gateway]),
      ...["dev", dev, ...flags.filter((flag) => flag === "onlink")],
    ].join(" ");
  });
  lines.push(
    ...neighbours.filter(({ dev }) => dev === device).map(({ dst, lladdr }) =>
      `neighbour ${dst} ${lladdr}`
    ),
    ...fdb.filter(({ ifname, dst }) => ifname === device && dst !== undefined).map(({ mac, dst }) =>
      `fdb ${mac} ${dst}`
    ),
  );
  return lines.sort();
}

/** Returns the desired objects by the leases of all hosts. @param publicIP the host's own address */
export function wantedObjects(
  leases: readonly LeaseFacts[],
  publicIP: string,
  network: string,
  { type, device }: GuideBackend,
): string[] {
  if (type === "udp") return [`route ${network} dev ${device}`];
  return leases.filter((lease) => lease.publicIP !== publicIP).flatMap((lease) => {
    const { subnet } = lease;
    if (type === "host-gw") return [`route ${subnet} via ${lease.publicIP} dev eth1`];
    const base = subnet.split("/")[0];
    return [
      `route ${subnet} via ${base} dev ${device} onlink`,
      `neighbour ${base} ${lease.vtepMac}`,
      `fdb ${lease.vtepMac} ${lease.publicIP}`,
    ];
  }).sort();
}

/** Addresses that a kernel sends the network's packets to; each must be a peer's. */
export function remoteAddresses({ routes, fdb }: KernelDump): string[] {
  return [
    ...routes.filter(({ protocol }) => protocol === "102").flatMap(({ gateway }) =>
      gateway === undefined || isContainerAddress(gateway) ? [] : [gateway]
    ),
    ...fdb.flatMap(({ ifname, dst }) =>
      ifname.startsWith("flannel") && dst !== undefined ? [dst] : []
    ),
  ];
}
