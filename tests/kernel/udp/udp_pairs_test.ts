/**
 * Every data path against every other, on a wire that completes offloads as hardware does: full checksums, no GSO
 * packets. There the kernel path carries every peer.
 */
import { assert, assertEquals } from "@std/assert";
import { setTxOffload } from "../../../bench/udp/wire.ts";
import { libc } from "../../../mod/sys/mod.ts";
import { mixed } from "./udp_exchange.ts";
import { DEVICE_ADDRESSES, MODES, UdpLab } from "./udp_lab.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

const DATAGRAMS = 10_000;

for (const from of MODES) {
  for (const to of MODES) {
    Deno.test(`10,000 mixed datagrams arrive unharmed from ${from} to ${to} on a wire that completes offloads`, async () => {
      await using lab = await UdpLab.make();
      for (const host of lab.hosts) setTxOffload(host, "eth1", false);
      const [sender, receiver] = [await lab.startAs(0, from), await lab.startAs(1, to)];
      await mixed(lab.hosts[0], lab.hosts[1], DEVICE_ADDRESSES[1], DATAGRAMS);
      const [sent, received] = [await sender.report(), await receiver.report()];
      // UDP GSO packets leave by user space on both paths; on the wire they are single datagrams.
      const byKernel = [
        sent.kernel?.traffic[0]?.sentPackets ?? 0,
        received.kernel?.traffic[0]?.receivedPackets ?? 0,
      ];
      assertEquals(
        byKernel.map((packets) => packets > 4_000),
        [from === "kernel", to === "kernel"],
        `${byKernel} packets`,
      );
      for (const { kernel } of [sent, received]) {
        assert(Object.values(kernel?.drops ?? {}).every((count) => count === 0));
      }
    });
  }
}
