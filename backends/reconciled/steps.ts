import type { ExternalInterface } from "../../mod/host/mod.ts";
import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import type { FdbEntry, Neighbour, Netlink } from "../../mod/sys/mod.ts";
import { deviceStep, encapsulationStep, routeStep, type Step, underlayStep } from "../steps.ts";
import type { Driver, PeerObjects } from "./driver.ts";

/** A packet to a peer's subnet, and the objects that should carry it. */
export interface DescribedPeer {
  readonly type: string;
  readonly driver: Driver;
  readonly netlink: Netlink;
  readonly external: ExternalInterface;
  readonly lease: Lease;
  readonly address: IPv4;
  readonly objects: PeerObjects;
}

/** Returns the objects on the packet's way, each compared with what it should be. */
export function describePeer(peer: DescribedPeer): Step[] {
  const { type, driver, netlink, external, lease, address, objects } = peer;
  const { publicIP } = lease.attributes;
  const { device, encapsulation, mtu } = driver;
  const { neighbour, fdb, route } = objects;
  const underlay = underlayStep(netlink, external, publicIP);
  if (device === undefined || route.oif === external.index) {
    return [routeStep(netlink, address, { device: external.name, gateway: publicIP }), underlay];
  }
  const index = netlink.link(device.name)?.index;
  return [
    routeStep(netlink, address, { device: device.name }),
    deviceStep(netlink, device.name, mtu),
    ...(index === undefined || neighbour === undefined
      ? []
      : [neighbourStep(netlink, device.name, { ...neighbour, index })]),
    ...(index === undefined || fdb === undefined
      ? []
      : [fdbStep(netlink, device.name, { ...fdb, index })]),
    ...(encapsulation === undefined
      ? []
      : [encapsulationStep(type, external, publicIP, { mtu, ...encapsulation })]),
    underlay,
  ];
}

function neighbourStep(netlink: Netlink, device: string, want: Neighbour): Step {
  const gateway = formatIPv4(want.address);
  const is = netlink.neighbours({ index: want.index })
    .find(({ address }) => address === want.address);
  if (is === undefined) {
    return {
      object: "neighbour",
      text: "none",
      wrong: `the MAC of next hop ${gateway} is not known`,
    };
  }
  const text = `${gateway} lladdr ${is.mac} dev ${device}`;
  if (is.mac === want.mac) return { object: "neighbour", text };
  return {
    object: "neighbour",
    text,
    wrong: `the MAC of next hop ${gateway} is ${is.mac}, and not the lease's ${want.mac}`,
  };
}

function fdbStep(netlink: Netlink, device: string, { index, mac, destination }: FdbEntry): Step {
  const is = netlink.fdb({ index }).find((entry) =>
    entry.mac === mac && entry.destination !== undefined
  );
  if (is === undefined) {
    return {
      object: "fdb",
      text: "none",
      wrong: `it is not known behind which host MAC ${mac} is`,
    };
  }
  const [actual, wanted] = [is.destination!, destination!].map(formatIPv4);
  const text = `${mac} dst ${actual} dev ${device}`;
  if (actual === wanted) return { object: "fdb", text };
  return { object: "fdb", text, wrong: `MAC ${mac} leads to ${actual}, and not to ${wanted}` };
}
