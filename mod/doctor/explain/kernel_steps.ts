import { describeRoute } from "../../../backends/describe.ts";
import { vtepMac } from "../../../backends/vxlan/desired.ts";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { Route } from "../../sys/mod.ts";
import type { Examination } from "../examination.ts";
import type { Step } from "./explanation.ts";
import { IFF_UP, RT_TABLE_MAIN } from "../../sys/linux_constants.ts";

/** The route of the main table that the kernel takes: the longest prefix, then the lowest metric. */
export function routeOf({ netlink }: Examination, address: IPv4): Route | undefined {
  return netlink.routes({ table: RT_TABLE_MAIN })
    .filter(({ destination }) => destination.contains(address))
    .sort((a, b) => b.destination.length - a.destination.length || a.metric - b.metric)[0];
}

/** Name of an interface. */
export function nameOfInterface({ netlink }: Examination, index: number): string {
  return netlink.linkByIndex(index)?.name ?? `interface ${index}`;
}

/**
 * The route to an address, and whether it is the one that should be.
 *
 * @param device name of the interface that it should lead to; `undefined`: any
 */
export function routeStep(host: Examination, address: IPv4, device: string | undefined): Step {
  const route = routeOf(host, address);
  if (route === undefined) {
    return { object: "route", text: "none", wrong: `no route leads to ${formatIPv4(address)}` };
  }
  const name = nameOfInterface(host, route.oif);
  const text = describeRoute(route, (index) => nameOfInterface(host, index)).replace(/^route /, "");
  if (device === undefined || name === device) return { object: "route", text };
  return { object: "route", text, wrong: `the route leads to ${name}, and not to ${device}` };
}

/** The device, up and of the right MTU. */
export function deviceStep(host: Examination, device: string, mtu: number | undefined): Step {
  const link = host.netlink.link(device);
  if (link === undefined) {
    return { object: "device", text: "none", wrong: `there is no device ${device}` };
  }
  const isUp = (link.flags & IFF_UP) !== 0;
  const text = `${device} mtu ${link.mtu} ${isUp ? "up" : "down"}`;
  if (!isUp) return { object: "device", text, wrong: `${device} is down` };
  if (mtu === undefined || link.mtu === mtu) return { object: "device", text };
  return { object: "device", text, wrong: `the MTU of ${device} is ${link.mtu}, and not ${mtu}` };
}

/** What vxlan needs besides: who has the next hop's address, and behind which host that MAC is. */
export function vxlanSteps(
  { netlink }: Examination,
  { subnet, attributes }: Lease,
  device: string,
): Step[] {
  const index = netlink.link(device)?.index;
  if (index === undefined) return [];
  const mac = vtepMac(attributes.backendData)!;
  const hop = formatIPv4(subnet.address);
  const neighbour = netlink.neighbours({ index }).find(({ address }) => address === subnet.address);
  const entry = netlink.fdb({ index }).find((entry) =>
    entry.mac === mac && entry.destination !== undefined
  );
  const publicIP = formatIPv4(attributes.publicIP);
  return [
    neighbour === undefined
      ? { object: "neighbour", text: "none", wrong: `the MAC of next hop ${hop} is not known` }
      : {
        object: "neighbour",
        text: `${hop} lladdr ${neighbour.mac} dev ${device}`,
        ...(neighbour.mac === mac ? {} : {
          wrong: `the MAC of next hop ${hop} is ${neighbour.mac}, and not the lease's ${mac}`,
        }),
      },
    entry === undefined
      ? { object: "fdb", text: "none", wrong: `it is not known behind which host MAC ${mac} is` }
      : {
        object: "fdb",
        text: `${mac} dst ${formatIPv4(entry.destination!)} dev ${device}`,
        ...(entry.destination === attributes.publicIP ? {} : {
          wrong: `MAC ${mac} leads to ${formatIPv4(entry.destination!)}, and not to ${publicIP}`,
        }),
      },
  ];
}

/** The way of the outer packet, to a host's public address. */
export function underlayStep(host: Examination, publicIP: IPv4): Step {
  const external = host.external();
  const address = formatIPv4(publicIP);
  const route = host.routeTo(publicIP);
  if (route === undefined) {
    return { object: "underlay", text: "none", wrong: `no route leads to host ${address}` };
  }
  const name = nameOfInterface(host, route.oif);
  const text = address + (route.gateway === undefined ? "" : ` via ${formatIPv4(route.gateway)}`) +
    ` dev ${name} src ${formatIPv4(route.source)} mtu ${
      host.netlink.linkByIndex(route.oif)?.mtu ?? "unknown"
    }`;
  if (name === external.name) return { object: "underlay", text };
  return {
    object: "underlay",
    text,
    wrong: `host ${address} is reached by ${name}, and not by ${external.name}`,
  };
}
