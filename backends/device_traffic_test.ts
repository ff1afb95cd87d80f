import { assertEquals } from "@std/assert";
import { Errno, SysError } from "../mod/sys/mod.ts";
import { deviceTraffic } from "./device_traffic.ts";

Deno.test("deviceTraffic() leaves Ethernet's headers out, and drops that did not occur", () => {
  const netlink = {
    linkStatistics: () => ({
      ...{ sentPackets: 2, sentBytes: 2 * (14 + 84), sendDrops: 3, sendErrors: 0 },
      ...{ receivedPackets: 1, receivedBytes: 14 + 60, receiveDrops: 0, receiveErrors: 4 },
    }),
  };
  assertEquals(deviceTraffic(netlink, 7), {
    total: { sentPackets: 2, sentBytes: 168, receivedPackets: 1, receivedBytes: 60 },
    drops: { sendDevice: 3, receiveDeviceError: 4 },
  });
});

Deno.test("deviceTraffic() has carried nothing over a device that is gone", () => {
  const netlink = {
    linkStatistics: () => {
      throw new SysError("RTM_GETLINK", Errno.ENODEV);
    },
  };
  assertEquals(deviceTraffic(netlink, 7).total.sentPackets, 0);
});
