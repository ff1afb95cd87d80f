import type { IPv4, Prefix } from "../mod/ip/mod.ts";
import type { Link, Netlink, Route } from "../mod/sys/mod.ts";
import type { Backend, StaleState } from "./backend.ts";
import { describeRoute } from "./describe.ts";
import { RTPROT_FLANNEL } from "./reconcile.ts";
import { loadBackends } from "./registry.ts";
import { RT_TABLE_MAIN, RTPROT_KERNEL } from "../mod/sys/linux_constants.ts";

/** Options of {@linkcode findStaleState}. */
export interface StaleStateOptions {
  /**
   * Other networks are served on this host: a device that carries nothing may be one of other networks that
   * is only coming up, and stays. @default false
   */
  readonly besideOthers?: boolean;
  /** Name of the agent's device, which flanneld manages whatever network it carries. @default none */
  readonly own?: string | undefined;
  /** Names of devices that are in use. @default none */
  readonly keep?: readonly (string | undefined)[];
}

/**
 * Finds what agents have left in the kernel for some networks, whichever backend they used: devices of
 * backends, routes by other devices, and what backends know of besides. Addresses, routes, neighbours and FDB
 * entries of a device go with it.
 *
 * flanneld manages a device that a backend recognises and that carries an address or a route in one of the
 * networks, or nothing at all. So that of an agent for another network stays. Routes are flanneld's by
 * their protocol number.
 *
 * @param networks none when it is not known what was served: then the protocol number decides alone
 */
export async function findStaleState(
  netlink: Netlink,
  networks: readonly Prefix[],
  { besideOthers = false, own, keep = [] }: StaleStateOptions = {},
): Promise<StaleState[]> {
  const backends = await loadBackends();
  const serves = (address: IPv4) =>
    networks.length === 0 || networks.some((network) => network.contains(address));
  const routes = netlink.routes({ table: RT_TABLE_MAIN });
  const links = netlink.links();
  const devices = links.filter((link) => {
    const number = deviceNumber(backends, link);
    if (number === undefined || keep.includes(link.name)) return false;
    // A further device exists only beside others.
    const mayBeBare = !besideOthers && number === 0;
    return link.name === own || isManaged(link, netlink, routes, networks, mayBeBare);
  });
  const nameOf = (index: number) =>
    links.find((link) => link.index === index)?.name ?? `interface ${index}`;
  const gone = new Set(devices.map(({ index }) => index));
  const inUse = new Set(links.filter(({ index }) => !gone.has(index)).map(({ name }) => name));
  const isInUse = (device: string) => inUse.has(device) || keep.includes(device);
  return [
    ...backends.flatMap((backend) => backend.staleState?.(netlink, isInUse) ?? []),
    ...routes
      .filter(({ protocol, destination, oif }) =>
        protocol === RTPROT_FLANNEL && serves(destination.address) && !gone.has(oif)
      )
      .map((object): StaleState => ({
        kind: "route",
        what: describeRoute(object, nameOf),
        route: object,
        remove: () => {
          const [failure] = netlink.execute([{ op: "delete", kind: "route", object }]).failures;
          if (failure !== undefined) throw failure.error;
        },
      })),
    ...devices.map((link): StaleState => ({
      kind: "device",
      what: `device ${link.name}`,
      link,
      remove: () => void netlink.deleteLink(link.index),
    })),
  ];
}

function deviceNumber(backends: readonly Backend[], link: Link): number | undefined {
  for (const backend of backends) {
    const number = backend.deviceNumber?.(link);
    if (number !== undefined) return number;
  }
  return undefined;
}

function isManaged(
  { index }: Link,
  netlink: Netlink,
  table: readonly Route[],
  networks: readonly Prefix[],
  mayBeBare: boolean,
): boolean {
  const routes = table.filter(({ oif, protocol }) => oif === index && protocol !== RTPROT_KERNEL);
  if (networks.length === 0) return routes.some(({ protocol }) => protocol === RTPROT_FLANNEL);
  const carried = [
    ...netlink.addresses({ index }).map(({ address }) => address),
    ...routes.map(({ destination }) => destination.address),
  ];
  return (carried.length === 0 && mayBeBare) ||
    carried.some((address) => networks.some((network) => network.contains(address)));
}
