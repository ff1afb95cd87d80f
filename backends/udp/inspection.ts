import type { IPv4 } from "../../mod/ip/mod.ts";
import { IPPROTO_UDP } from "../../mod/sys/linux_constants.ts";
import { isRefusal, SysError } from "../../mod/sys/mod.ts";
import type { BackendContext, Inspection } from "../backend.ts";
import { plainInspection } from "../plain_inspection.ts";
import { deviceStep, encapsulationStep, routeStep, type Step, underlayStep } from "../steps.ts";
import { chooseDevice } from "./device_name.ts";
import { kernelRouteTo } from "./kernel/inspect.ts";
import { KERNEL_FEATURE } from "./kernel/udp_kernel.ts";
import { udpOptions } from "./options.ts";

/** Inspects a udp network: see {@linkcode Backend.inspect}. */
export function inspectUdp(context: BackendContext): Inspection {
  const { config, external, netlink } = context;
  const { port, mtu } = udpOptions(config.backend.options, external.mtu);
  const device = chooseDevice(netlink, context, new Set());
  const tunnel = { device, protocol: IPPROTO_UDP, port, headers: 0, mtu };
  return {
    ...plainInspection(context),
    tunnel,
    describe: ({ attributes: { publicIP } }, _own, address) => [
      routeStep(netlink, address, { device }),
      deviceStep(netlink, device, mtu),
      pathStep(context, device, publicIP, address),
      encapsulationStep(config.backend.type, external, publicIP, tunnel),
      underlayStep(netlink, external, publicIP),
    ],
    bypassesFirewall(address) {
      try {
        return kernelRouteTo(device, address)?.carried === true;
      } catch (error) {
        if (error instanceof SysError) return false;
        throw error;
      }
    },
  };
}

/** Returns whether the kernel or user space carries packets to an address, and why. */
function pathStep(
  { udp, featuresOf }: BackendContext,
  device: string,
  publicIP: IPv4,
  address: IPv4,
): Step {
  const object = "path";
  let route: ReturnType<typeof kernelRouteTo>;
  try {
    route = kernelRouteTo(device, address);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const isUnprivileged = Deno.uid() !== 0 && isRefusal(error);
    const reason = isUnprivileged ? "it takes root: run as root" : error.message;
    return { object, text: `not checked: ${reason}` };
  }
  if (route?.carried) return { object, text: "in the kernel, by eBPF" };
  if (udp?.datapath === "user") {
    return { object, text: "in user space, as set by -udp-datapath=user" };
  }
  if (route === undefined) return { object, text: "in user space: there is no kernel path" };
  return {
    object,
    text: featuresOf?.(publicIP).includes(KERNEL_FEATURE)
      ? "in user space: the host is not reached by the interface that carries packets"
      : "in user space: the host does not advertise udp-kernel",
  };
}
