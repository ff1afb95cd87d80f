import type { IPv4 } from "../ip/mod.ts";
import { info, warning } from "../observe/log.ts";
import { Errno, type Netlink, RT_TABLE_MAIN, SysError } from "../sys/mod.ts";
import type { HostTables } from "./candidates.ts";
import { chooseInterface } from "./choose_interface.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { InterfaceOptions } from "./options.ts";

/** What a route lookup fails with when it finds no route, or one that refuses (ip-route(8)). */
const NO_ROUTE: readonly number[] = [
  Errno.ENETUNREACH,
  Errno.EHOSTUNREACH,
  Errno.EACCES,
  Errno.EINVAL,
];

/**
 * Asks the kernel for what {@linkcode chooseInterface} needs, chooses, and logs how.
 *
 * @throws {InterfaceError} when no interface fits
 * @throws {SysError} when the kernel does not answer
 */
export function findExternalInterface(
  options: InterfaceOptions,
  netlink: Pick<Netlink, "links" | "addresses" | "routes" | "routeTo">,
): ExternalInterface {
  const reach = options.canReach === undefined ? undefined : lookUp(options.canReach, netlink);
  const { external, steps, doubt } = chooseInterface(options, {
    links: netlink.links(),
    addresses: netlink.addresses(),
    routes: netlink.routes({ table: RT_TABLE_MAIN }),
    ...(reach === undefined ? {} : { reach }),
  });
  for (const step of steps) info(step);
  if (doubt !== undefined) warning(doubt);
  return external;
}

function lookUp(address: IPv4, netlink: Pick<Netlink, "routeTo">): HostTables["reach"] {
  try {
    return netlink.routeTo(address);
  } catch (error) {
    if (error instanceof SysError && NO_ROUTE.includes(error.errno)) return undefined;
    throw error;
  }
}
