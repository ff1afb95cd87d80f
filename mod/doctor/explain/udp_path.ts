import { kernelRouteTo } from "../../../backends/udp/kernel/inspect.ts";
import { KERNEL_FEATURE } from "../../../backends/udp/kernel/udp_kernel.ts";
import type { IPv4 } from "../../ip/mod.ts";
import { reasonNotChecked } from "../errors.ts";
import type { Examination } from "../examination.ts";
import type { PeerLease } from "../peers.ts";
import type { Step } from "./explanation.ts";

/** Whether the udp backend carries packets in the kernel or in user space, and why. */
export function udpPathStep(
  { options }: Examination,
  device: string,
  address: IPv4,
  { agent }: PeerLease,
): Step {
  const object = "path";
  let route: ReturnType<typeof kernelRouteTo>;
  try {
    route = kernelRouteTo(device, address);
  } catch (error) {
    return { object, text: `not looked at: ${reasonNotChecked(error)}` };
  }
  if (route?.carried) return { object, text: "in the kernel, by eBPF" };
  if (options.udp.datapath === "user") {
    return { object, text: "in user space, as -udp-datapath=user says" };
  }
  if (route === undefined) return { object, text: "in user space: there is no kernel path" };
  const says = agent?.record.features?.includes(KERNEL_FEATURE) === true;
  return {
    object,
    text: says
      ? "in user space: the host is not reached by the interface that carries packets"
      : "in user space: the host does not advertise udp-kernel",
  };
}
