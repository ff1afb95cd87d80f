import type { Prefix } from "../../mod/ip/mod.ts";

/** flannel's name for the route to a subnet: `flannel-10-20-93-0-24`. */
export function routeName(subnet: Prefix): string {
  return `flannel-${String(subnet).replaceAll(/[./]/g, "-")}`;
}
