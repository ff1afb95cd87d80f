import { assertEquals } from "@std/assert";
import { completesOffloads } from "./underlay.ts";

Deno.test("completesOffloads() is true for hardware, and for interfaces without tx-checksum offload", () => {
  const cases: [string, string, boolean, boolean][] = [
    ["ixgbe", "0000:03:00.0", true, true],
    ["ena", "0000:00:05.0", true, true],
    ["r8152", "usb-0000:00:14.0-1", true, true],
    ["veth", "", true, false],
    ["bridge", "N/A", true, false],
    ["bonding", "", true, false],
    ["virtio_net", "0000:00:03.0", true, false],
    ["vmxnet3", "0000:0b:00.0", true, false],
    ["", "", true, false],
    ["veth", "", false, true],
    ["virtio_net", "0000:00:03.0", false, true],
  ];
  for (const [driver, bus, partialChecksums, expected] of cases) {
    const text = `${driver} at "${bus}", ${partialChecksums}`;
    assertEquals(completesOffloads({ driver, bus, partialChecksums }), expected, text);
  }
});
