import type { Netlink } from "../../mod/sys/mod.ts";
import type { StaleState } from "../backend.ts";
import { udpDeviceNumber } from "./device_name.ts";
import { StaleKernelPath } from "./kernel/stale_state.ts";

/** How many of the first device names are searched for programs that have outlived their device. */
const SEARCHED = 8;

/** Finds eBPF programs of devices that no network uses: those at the external interface outlive the device. */
export function stalePrograms(
  netlink: Netlink,
  isInUse: (device: string) => boolean,
): StaleState[] {
  const links = netlink.links();
  const underlays = links.filter(({ mac }) => mac !== undefined).map(({ name }) => name);
  const names = links.map(({ name }) => name).filter((name) => udpDeviceNumber(name) !== undefined);
  const first = Array.from({ length: SEARCHED }, (_, number) => `flannel${number}`);
  return [...new Set([...first, ...names])].filter((device) => !isInUse(device))
    .flatMap((device) => {
      const programs = new StaleKernelPath(netlink, device, underlays);
      if (!programs.exists()) return [];
      return [{
        kind: "programs" as const,
        what: `eBPF programs of ${device}`,
        remove: () => programs.remove(),
      }];
    });
}
