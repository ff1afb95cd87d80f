import { assertEquals } from "@std/assert";
import { combineTraffic } from "./traffic.ts";

const counts = (n: number) => ({
  sentPackets: n,
  sentBytes: 10 * n,
  receivedPackets: 2 * n,
  receivedBytes: 20 * n,
});

Deno.test("combineTraffic() adds up the traffic of user space and kernel", () => {
  assertEquals(
    combineTraffic([
      {
        peers: [{ publicIP: 1, ...counts(1) }, { publicIP: 2, ...counts(3) }],
        counters: { sentPackets: 4, dropSendNoRoute: 2, dropReceiveSpoofed: 1, dropSendTtl: 0 },
      },
      {
        peers: [{ publicIP: 1, ...counts(5) }],
        counters: { dropReceiveSpoofed: 7, dropReceiveForeign: 0 },
      },
    ]),
    {
      total: counts(9),
      peers: new Map([[1, counts(6)], [2, counts(3)]]),
      drops: { sendNoRoute: 2, receiveSpoofed: 8 },
    },
  );
});

Deno.test("combineTraffic() returns zeros while no path is open", () => {
  assertEquals(combineTraffic([]), { total: counts(0), peers: new Map(), drops: {} });
});
