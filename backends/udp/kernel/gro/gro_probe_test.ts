import { assertEquals } from "@std/assert";
import { onesComplementSum } from "../../../../mod/ip/checksum.ts";
import { parseIPv4, Prefix } from "../../../../mod/ip/mod.ts";
import { probeFrame } from "./gro_probe.ts";
import { groValue } from "../programs/layout.ts";

Deno.test("probeFrame() is a peer's datagram around the GRO headers and an empty packet", () => {
  const settings = {
    ...{ device: 2, underlay: 3, mtu: 1500, port: 8285, address: parseIPv4("172.28.128.100")! },
    ...{ own: Prefix.parse("10.40.1.0/24")!, network: Prefix.parse("10.40.0.0/16")! },
    ...{ acceptAny: false, strictSource: false },
  };
  const address = {
    vni: 8285,
    mac: "02:00:00:00:00:01",
    secret: "06:00:00:00:00:02",
    port: 28_285,
  };
  const headers = groValue(address);
  const peer = parseIPv4("172.28.128.101")!;
  const frame = probeFrame(settings, peer, "02:11:22:33:44:55", new DataView(headers.buffer));
  const addresses = [172, 28, 128, 101, 172, 28, 128, 100];
  const view = new DataView(frame.buffer);
  assertEquals([...frame.slice(0, 14)], [
    ...[0x02, 0x11, 0x22, 0x33, 0x44, 0x55],
    ...[0x02, 0x11, 0x22, 0x33, 0x44, 0x55],
    ...[0x08, 0x00],
  ]);
  for (const [at, length, protocol] of [[14, 70, 17], [64, 20, 253]] as const) {
    assertEquals(onesComplementSum(view, at, 20), 0xffff);
    const header = [0x45, 0, 0, length, 0, 0, 0, 0, 64, protocol];
    assertEquals([...frame.slice(at, at + 10)], header);
    assertEquals([...frame.slice(at + 12, at + 20)], addresses);
  }
  // From and to flannel's port, 50 bytes with the header, not summed.
  assertEquals([...frame.slice(34, 42)], [0, 0, 0x20, 0x5d, 0, 50, 0, 0]);
  assertEquals(frame.slice(42, 64), headers.slice(0, 22));
  assertEquals(frame.length, 84);
});
