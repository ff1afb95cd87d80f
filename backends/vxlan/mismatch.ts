import { formatIPv4 } from "../../mod/ip/mod.ts";
import type { VxlanAttributes } from "../../mod/sys/mod.ts";

/** Returns why an existing vxlan device cannot serve, in flannel's words; `undefined` when it can. */
export function mismatch(
  is: VxlanAttributes,
  want: Omit<VxlanAttributes, "group" | "l2miss" | "l3miss">,
): string | undefined {
  if (is.vni !== want.vni) return `vni: ${is.vni} vs ${want.vni}`;
  if (is.link !== want.link) return `external interface: ${is.link} vs ${want.link}`;
  if (is.local !== want.local) {
    const [actual, wanted] = [is.local, want.local]
      .map((address) => address === undefined ? "none" : formatIPv4(address));
    return `vtep (external) IP: ${actual} vs ${wanted}`;
  }
  if (is.group !== undefined) return `group: ${formatIPv4(is.group)} vs none`;
  if (is.l2miss) return "l2miss: on vs off";
  if (is.l3miss) return "l3miss: on vs off";
  if (is.port !== want.port) return `port: ${is.port} vs ${want.port}`;
  if (is.gbp !== want.gbp) return `gbp: ${is.gbp} vs ${want.gbp}`;
  if (is.learning !== want.learning) return `learning: ${is.learning} vs ${want.learning}`;
  return undefined;
}
