/**
 * Traces one probe after the other until it is killed; prints a line after the first. For the test of stale
 * state.
 *
 * @module
 */
import { PacketTracer } from "../../../mod/doctor/trace/tracer.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { Netlink } from "../../../mod/sys/mod.ts";

const ending = new AbortController();
Deno.addSignalListener("SIGTERM", () => ending.abort());
using netlink = Netlink.open();
await using tracer = new PacketTracer({ signal: ending.signal });
const { index, name } = netlink.link("flannel.1")!;
for (let i = 0; !ending.signal.aborted; i++) {
  try {
    await tracer.trace({
      packet: {
        ...{ source: parseIPv4("10.20.65.2")!, destination: parseIPv4("10.20.93.2")! },
        ...{ protocol: "icmp", port: 0 },
      },
      entry: {
        ...{ type: "receive", name, index },
        ...{
          to: new Uint8Array([2, 0, 0, 0, 0, 0x5d]),
          from: new Uint8Array([2, 0, 0, 0, 0, 0x41]),
        },
      },
    });
  } catch (error) {
    if (!ending.signal.aborted) throw error;
  }
  if (i === 0) console.log("traced");
}
