import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import {
  IFF_UP,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTPROT_BOOT,
} from "../../sys/linux_constants.ts";
import { withNamespaceDescriptor } from "../../sys/namespace.ts";
import { Netlink } from "../../sys/netlink/connection.ts";
import { VETH } from "../../sys/netlink/objects/veth.ts";
import type { Link, Operation, Route } from "../../sys/netlink/wire/types.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject, reasonOf } from "../json.ts";
import type { AddressLease } from "./address_leases.ts";
import { type BridgeSpec, checkBridge, damaged, ensureBridge, executeAll } from "./bridge.ts";
import { macOf } from "./names.ts";

/** Index of the loopback device in every namespace (linux/net_namespace.h). */
const LOOPBACK_INDEX = 1;

/** An attachment, as it should be. */
export interface AttachmentSpec {
  readonly lease: AddressLease;
  /** Path of the container's network namespace. */
  readonly netns: string;
  readonly bridge: BridgeSpec;
  readonly hairpinMode: boolean;
  /** Hardware address of the container's interface. @default that of its address */
  readonly mac?: string | undefined;
  /** Destinations of the container's routes by the bridge. */
  readonly routes: readonly Prefix[];
}

/** Hardware addresses of the devices. */
export interface Macs {
  readonly bridge: string;
  readonly hostEnd: string;
  readonly container: string;
}

/**
 * Connects a container: the bridge, a veth pair, the address and the routes. Undoes all of it when a step fails.
 *
 * @throws {CniError}
 * @throws {SysError}
 */
export function attach(spec: AttachmentSpec): Macs {
  const { lease, netns } = spec;
  using host = Netlink.open();
  using inside = Netlink.open({ netns });
  if (inside.link(lease.ifname) !== undefined) {
    throw new CniError(
      Code.INVALID_ENVIRONMENT,
      `the container has an interface ${lease.ifname} already`,
    );
  }
  // Of an ADD that was killed, and whose lease somebody removed.
  removeHostEnd(host, lease.hostEnd);
  const { bridge, isNew } = ensureBridge(host, spec.bridge);
  try {
    const mac = spec.mac ?? macOf(lease.address);
    const { mtu } = spec.bridge;
    const veth = withNamespaceDescriptor(netns, (peerNamespace) =>
      host.createLink({
        ...{ name: lease.hostEnd, mtu, master: bridge.index, kind: VETH },
        attributes: { peerName: lease.ifname, peerMtu: mtu, peerMac: mac, peerNamespace },
      }));
    try {
      const { hairpinMode } = spec;
      host.setLink(veth.index, { up: true, ...hairpinMode ? { hairpin: true } : {} });
      configureContainer(inside, spec);
      enableForwarding();
    } catch (error) {
      host.deleteLink(veth.index);
      throw error;
    }
    return { bridge: bridge.mac ?? "", hostEnd: veth.mac ?? "", container: mac };
  } catch (error) {
    if (isNew) host.deleteLink(bridge.index);
    throw error;
  }
}

const FORWARDING = "/proc/sys/net/ipv4/ip_forward";

/** Containers reach each other by the bridge, everything else through the host. */
function enableForwarding(): void {
  try {
    if (Deno.readTextFileSync(FORWARDING).trim() !== "1") Deno.writeTextFileSync(FORWARDING, "1");
  } catch (error) {
    throw new CniError(Code.IO_FAILURE, `cannot turn on ${FORWARDING}`, reasonOf(error), {
      cause: error,
    });
  }
}

function configureContainer(inside: Netlink, { lease, bridge, routes }: AttachmentSpec): void {
  const link = inside.link(lease.ifname);
  if (link === undefined) {
    throw new CniError(Code.KERNEL_REFUSED, `${lease.ifname} is gone from the container`);
  }
  const { index } = link;
  inside.setLink(LOOPBACK_INDEX, { up: true });
  inside.setLink(index, { up: true });
  const { address } = lease;
  const { prefixLength, gateway } = bridge;
  executeAll(inside, [
    { op: "add", kind: "address", object: { index, address, prefixLength, scope: 0, flags: 0 } },
    ...routes.map((destination): Operation => ({
      op: "add",
      kind: "route",
      object: routeBy(gateway, index, destination),
    })),
  ]);
}

function routeBy(gateway: number, oif: number, destination: Prefix): Route {
  return {
    ...{ destination, gateway, oif, onlink: false, protocol: RTPROT_BOOT, metric: 0 },
    ...{ scope: RT_SCOPE_UNIVERSE, table: RT_TABLE_MAIN },
  };
}

/** Disconnects a container. Succeeds when it is disconnected. @throws {SysError} */
export function detach(hostEnd: string): void {
  using host = Netlink.open();
  removeHostEnd(host, hostEnd);
}

/** Deleting one end of a veth deletes the other, with its addresses and routes. */
function removeHostEnd(host: Netlink, name: string): void {
  const link = host.link(name);
  if (link?.kind === VETH.name) host.deleteLink(link.index);
}

/** Returns whether the device of a lease exists. @throws {SysError} */
export function isAttached(hostEnd: string): boolean {
  using host = Netlink.open();
  return host.link(hostEnd) !== undefined;
}

/**
 * Compares a container's network with the result of ADD.
 *
 * @throws {CniError} 100 for the first difference; 3 when the namespace is gone
 * @throws {SysError}
 */
export function checkAttachment(spec: AttachmentSpec, prevResult: JsonObject): void {
  const { lease, netns } = spec;
  using host = Netlink.open();
  const bridge = checkBridge(host, spec.bridge);
  const veth = host.link(lease.hostEnd);
  if (veth === undefined) throw damaged(`the host has no device ${lease.hostEnd}`);
  if (!isUp(veth)) throw damaged(`${lease.hostEnd} is down`);
  if (veth.master !== bridge.index) {
    throw damaged(`${lease.hostEnd} is no port of ${spec.bridge.name}`);
  }
  using inside = Netlink.open({ netns });
  const link = inside.link(lease.ifname);
  if (link === undefined) throw damaged(`the container has no interface ${lease.ifname}`);
  if (!isUp(link)) throw damaged(`${lease.ifname} is down in the container`);
  const mac = macInResult(prevResult, lease.ifname);
  if (mac !== undefined && link.mac !== mac) {
    throw damaged(`${lease.ifname} has the hardware address ${link.mac}, not ${mac}`);
  }
  const { prefixLength, gateway } = spec.bridge;
  const address = `${formatIPv4(lease.address)}/${prefixLength}`;
  const addresses = inside.addresses({ index: link.index })
    .map(({ address, prefixLength }) => `${formatIPv4(address)}/${prefixLength}`);
  if (!addresses.includes(address)) throw damaged(`${lease.ifname} does not have ${address}`);
  if (!addressesInResult(prevResult).includes(address)) {
    throw damaged(`the result of ADD does not have the leased address ${address}`);
  }
  const routes = inside.routes({ oif: link.index, table: RT_TABLE_MAIN });
  for (const destination of spec.routes) {
    const isThere = routes.some((route) =>
      route.destination.equals(destination) && route.gateway === gateway
    );
    if (!isThere) throw damaged(`the container has no route to ${destination} by the bridge`);
  }
}

function isUp({ flags }: Link): boolean {
  return (flags & IFF_UP) !== 0;
}

function macInResult({ interfaces }: JsonObject, ifname: string): string | undefined {
  if (!Array.isArray(interfaces)) return undefined;
  const found = interfaces.find((entry) =>
    isObject(entry) && entry.name === ifname && Boolean(entry.sandbox)
  );
  return typeof found?.mac === "string" ? found.mac : undefined;
}

function addressesInResult({ ips }: JsonObject): unknown[] {
  return Array.isArray(ips) ? ips.map((ip) => isObject(ip) ? ip.address : undefined) : [];
}
