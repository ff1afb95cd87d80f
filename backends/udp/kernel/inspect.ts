import { type IPv4, Prefix } from "../../../mod/ip/mod.ts";
import { BpfMap, openPin, pathExists } from "../../../mod/sys/bpf/mod.ts";
import { SysError } from "../../../mod/sys/mod.ts";
import { type KernelRoute, MAPS, readRouteValue, routeKey } from "./programs/layout.ts";
import { pinDirectory } from "./pins.ts";

/**
 * How the kernel path of a device carries packets to an address, read from what is pinned: an agent
 * need not run.
 *
 * @returns `undefined` when the device has no kernel path, or that knows no subnet with the address
 * @throws {SysError} EPERM or EACCES without the privilege
 */
export function kernelRouteTo(
  device: string,
  address: IPv4,
): Pick<KernelRoute, "publicIP" | "carried"> | undefined {
  const fd = openPin(routesPin(device));
  if (fd === undefined) return undefined;
  using map = new BpfMap(fd, MAPS.routes);
  // A trie finds the longest prefix that holds the address.
  const value = map.lookup(routeKey(new Prefix(address, 32)));
  return value && readRouteValue(value);
}

/** Returns whether a device has a kernel path; false without the permission to check. */
export function hasKernelPath(device: string): boolean {
  try {
    return pathExists(routesPin(device));
  } catch (error) {
    if (error instanceof SysError) return false;
    throw error;
  }
}

function routesPin(device: string): string {
  return `${pinDirectory(device)}/routes`;
}
