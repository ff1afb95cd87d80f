import { type LinkStatistics, type Netlink, SysError } from "../mod/sys/mod.ts";
import type { NetworkTraffic } from "./backend.ts";

/** Bytes of the Ethernet header, which the byte counts of a device with a MAC hold. */
const ETHERNET = 14;

/**
 * Returns what a device has carried since it was created. The kernel counts by device, not by peer. A device that
 * somebody has just removed has carried nothing.
 */
export function deviceTraffic(
  netlink: Pick<Netlink, "linkStatistics">,
  index: number,
  isEthernet = true,
): NetworkTraffic {
  let is: LinkStatistics;
  try {
    is = netlink.linkStatistics(index);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    is = NOTHING;
  }
  const headers = isEthernet ? ETHERNET : 0;
  const drops = {
    sendDevice: is.sendDrops,
    sendDeviceError: is.sendErrors,
    receiveDevice: is.receiveDrops,
    receiveDeviceError: is.receiveErrors,
  };
  return {
    total: {
      sentPackets: is.sentPackets,
      sentBytes: Math.max(0, is.sentBytes - headers * is.sentPackets),
      receivedPackets: is.receivedPackets,
      receivedBytes: Math.max(0, is.receivedBytes - headers * is.receivedPackets),
    },
    drops: Object.fromEntries(Object.entries(drops).filter(([, count]) => count > 0)),
  };
}

const NOTHING: LinkStatistics = {
  ...{ sentPackets: 0, sentBytes: 0, sendDrops: 0, sendErrors: 0 },
  ...{ receivedPackets: 0, receivedBytes: 0, receiveDrops: 0, receiveErrors: 0 },
};
