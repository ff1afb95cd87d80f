import { type IPv4, Prefix } from "../../../mod/ip/mod.ts";
import { BpfMap, openPin, pathExists } from "../../../mod/sys/bpf/mod.ts";
import { SysError } from "../../../mod/sys/mod.ts";
import { MAPS, readRouteValue, routeKey } from "./programs/layout.ts";
import { pinDirectory } from "./pins.ts";

/**
 * Reads from the pinned maps how a device's kernel path carries packets to an address. Needs no running agent.
 *
 * @returns `undefined` when the device has no kernel path, or no subnet there contains the address
 * @throws {SysError} EPERM or EACCES without the privilege
 */
export function kernelRouteTo(
  device: string,
  address: IPv4,
): ReturnType<typeof readRouteValue> | undefined {
  const fd = openPin(routesPin(device));
  if (fd === undefined) return undefined;
  using map = new BpfMap(fd, MAPS.routes);
  // The trie finds the longest prefix that contains the address.
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
