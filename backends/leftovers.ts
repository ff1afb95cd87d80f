import type { IPv4, Prefix } from "../mod/ip/mod.ts";
import { type Link, type Netlink, type Route, VXLAN } from "../mod/sys/mod.ts";
import { describeRoute } from "./describe.ts";
import { RTPROT_FLANNEL } from "./reconcile.ts";
import { udpDeviceNumber } from "./udp/device_name.ts";
import { StaleState } from "./udp/kernel/stale_state.ts";
import { RT_TABLE_MAIN, RTPROT_KERNEL } from "../mod/sys/linux_constants.ts";

/** How many devices of the udp backend are thought of whose programs may have outlived them. */
const SEARCHED = 8;

/** Something of ours in the kernel that outlived its agent. */
export interface Leftover {
  /** A device goes with all that is on it, a path with the device that it served. */
  readonly kind: "device" | "path" | "route";
  /** In the words of ip(8): `device flannel.1`. */
  readonly what: string;
  /** The device, of kind `device`. */
  readonly link?: Link;
  /** The route, of kind `route`. */
  readonly route?: Route;
  /**
   * Takes it away; gone already is fine.
   *
   * @throws {SysError} when the kernel refuses
   */
  remove(): void;
}

/** Options of {@linkcode findLeftovers}. */
export interface LeftoverOptions {
  /**
   * Other networks are served on this host: a device that carries nothing may be one of theirs that
   * is only coming up, and stays. @default false
   */
  readonly besideOthers?: boolean;
  /** Name of the agent's device, which flanneld manages whatever network it carries. @default none */
  readonly own?: string | undefined;
  /** Names of devices that are in use. @default none */
  readonly keep?: readonly (string | undefined)[];
}

/**
 * Finds what agents have left in the kernel for some networks, whichever backend they used: our
 * devices, and our routes by other devices. Addresses, routes, neighbours and FDB entries of a
 * device go with it.
 *
 * A device is ours by its name and kind, and by what it carries: an address or a route in one of the
 * networks, or nothing at all. So that of an agent for another network stays. Routes are ours by
 * their protocol number.
 *
 * @param networks none when it is not known what was served: then our protocol number decides alone
 * @param options of which networks there are besides
 */
export function findLeftovers(
  netlink: Netlink,
  networks: readonly Prefix[],
  { besideOthers = false, own, keep = [] }: LeftoverOptions = {},
): Leftover[] {
  const serves = (address: IPv4) =>
    networks.length === 0 || networks.some((network) => network.contains(address));
  const routes = netlink.routes({ table: RT_TABLE_MAIN });
  const links = netlink.links();
  const devices = links.filter((link) =>
    isOurKind(link) && !keep.includes(link.name) &&
    (link.name === own || isOurs(link, netlink, routes, networks, besideOthers))
  );
  const nameOf = (index: number) =>
    links.find((link) => link.index === index)?.name ?? `interface ${index}`;
  const gone = new Set(devices.map(({ index }) => index));
  const inUse = links.filter(({ index }) => !gone.has(index)).map(({ name }) => name);
  return [
    ...udpDevices(links).filter((device) => !inUse.includes(device) && !keep.includes(device))
      .flatMap((device) => kernelPath(netlink, links, device)),
    ...routes
      .filter(({ protocol, destination, oif }) =>
        protocol === RTPROT_FLANNEL && serves(destination.address) && !gone.has(oif)
      )
      .map((object): Leftover => ({
        kind: "route",
        what: describeRoute(object, nameOf),
        route: object,
        remove: () => {
          const [failure] = netlink.execute([{ op: "delete", kind: "route", object }]).failures;
          if (failure !== undefined) throw failure.error;
        },
      })),
    ...devices.map((link): Leftover => ({
      kind: "device",
      what: `device ${link.name}`,
      link,
      remove: () => void netlink.deleteLink(link.index),
    })),
  ];
}

/** Devices of the udp backend that there are, and those of the first numbers, which may be gone. */
function udpDevices(links: readonly Link[]): string[] {
  const names = links.map(({ name }) => name).filter((name) => udpDeviceNumber(name) !== undefined);
  const first = Array.from({ length: SEARCHED }, (_, number) => `flannel${number}`);
  return [...new Set([...first, ...names])];
}

/** Programs of the udp backend: those at the external interface outlive the device. */
function kernelPath(netlink: Netlink, links: readonly Link[], device: string): Leftover[] {
  const underlays = links.filter(({ mac }) => mac !== undefined).map(({ name }) => name);
  const leftover = new StaleState(netlink, device, underlays);
  if (!leftover.exists()) return [];
  return [{
    kind: "path",
    what: `eBPF programs of ${device}`,
    remove: () => leftover.remove(),
  }];
}

/** True for a device as vxlan or udp makes it. */
function isOurKind(link: Link): boolean {
  const { name, kind } = link;
  const vxlan = VXLAN.of(link);
  if (vxlan !== undefined) return name === `flannel.${vxlan.vni}`;
  return kind === "tun" && udpDeviceNumber(name) !== undefined;
}

function isOurs(
  { index, name }: Link,
  netlink: Netlink,
  table: readonly Route[],
  networks: readonly Prefix[],
  besideOthers: boolean,
): boolean {
  const routes = table.filter(({ oif, protocol }) => oif === index && protocol !== RTPROT_KERNEL);
  if (networks.length === 0) return routes.some(({ protocol }) => protocol === RTPROT_FLANNEL);
  const carried = [
    ...netlink.addresses({ index }).map(({ address }) => address),
    ...routes.map(({ destination }) => destination.address),
  ];
  // A second TUN device exists only beside others.
  const mayBeBare = !besideOthers && (udpDeviceNumber(name) ?? 0) === 0;
  return (carried.length === 0 && mayBeBare) ||
    carried.some((address) => networks.some((network) => network.contains(address)));
}
