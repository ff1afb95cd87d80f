import type { IPv4 } from "../ip/mod.ts";
import { info, warning } from "../observe/log/log.ts";
import { Errno, type Netlink, SysError } from "../sys/mod.ts";
import type { HostTables } from "./candidates.ts";
import { chooseInterface, type InterfaceChoice } from "./choose_interface.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { InterfaceOptions } from "./options.ts";
import { RT_TABLE_MAIN } from "../sys/linux_constants.ts";

/** Errors of a route lookup without a route, or with an unreachable or prohibit route (ip-route(8)). */
const NO_ROUTE: readonly number[] = [
  Errno.ENETUNREACH,
  Errno.EHOSTUNREACH,
  Errno.EACCES,
  Errno.EINVAL,
];

/** Kernel tables for the choice. */
type Tables = Pick<Netlink, "links" | "addresses" | "routes" | "routeTo">;

/**
 * Reads the kernel's tables, chooses the external interface and logs the steps.
 *
 * @throws {InterfaceError} when no interface fits
 * @throws {SysError} when the kernel does not answer
 */
export function findExternalInterface(
  options: InterfaceOptions,
  netlink: Tables,
): ExternalInterface {
  const choice = examineInterface(options, netlink);
  for (const step of choice.steps) info(step);
  if (choice.warning !== undefined) warning(choice.warning);
  return choice.external;
}

/**
 * Chooses the external interface like {@linkcode findExternalInterface}, but returns the log lines.
 *
 * @throws {InterfaceError} when no interface fits
 * @throws {SysError} when the kernel does not answer
 */
export function examineInterface(options: InterfaceOptions, netlink: Tables): InterfaceChoice {
  const reach = options.canReach === undefined ? undefined : lookUp(options.canReach, netlink);
  return chooseInterface(options, {
    links: netlink.links(),
    addresses: netlink.addresses(),
    routes: netlink.routes({ table: RT_TABLE_MAIN }),
    ...(reach === undefined ? {} : { reach }),
  });
}

function lookUp(address: IPv4, netlink: Pick<Netlink, "routeTo">): HostTables["reach"] {
  try {
    return netlink.routeTo(address);
  } catch (error) {
    if (error instanceof SysError && NO_ROUTE.includes(error.errno)) return undefined;
    throw error;
  }
}
