import { type LinkStatistics, type Netlink, SysError } from "../mod/sys/mod.ts";
import type { NetworkTraffic } from "./backend.ts";

/** Ethernet header of a vxlan device's packets, which its byte counts hold. */
const ETHERNET = 14;

/**
 * What a vxlan device has carried since it was made. The kernel counts by device, not by peer. A device that
 * somebody has just removed has carried nothing.
 */
export function deviceTraffic(
  netlink: Pick<Netlink, "linkStatistics">,
  index: number,
): NetworkTraffic {
  let is: LinkStatistics;
  try {
    is = netlink.linkStatistics(index);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    is = NOTHING;
  }
  const drops = {
    sendDevice: is.sendDrops,
    sendDeviceError: is.sendErrors,
    receiveDevice: is.receiveDrops,
    receiveDeviceError: is.receiveErrors,
  };
  return {
    total: {
      sentPackets: is.sentPackets,
      sentBytes: Math.max(0, is.sentBytes - ETHERNET * is.sentPackets),
      receivedPackets: is.receivedPackets,
      receivedBytes: Math.max(0, is.receivedBytes - ETHERNET * is.receivedPackets),
    },
    drops: Object.fromEntries(Object.entries(drops).filter(([, count]) => count > 0)),
  };
}

const NOTHING: LinkStatistics = {
  ...{ sentPackets: 0, sentBytes: 0, sendDrops: 0, sendErrors: 0 },
  ...{ receivedPackets: 0, receivedBytes: 0, receiveDrops: 0, receiveErrors: 0 },
};
