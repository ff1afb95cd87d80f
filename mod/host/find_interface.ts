import type { IPv4 } from "../ip/mod.ts";
import { info, warning } from "../observe/log.ts";
import type { InterfaceAddress, Link, Route } from "../sys/netlink/types.ts";
import { chooseInterface } from "./choose_interface.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { InterfaceOptions } from "./options.ts";

/** RT_TABLE_MAIN of linux/rtnetlink.h. */
const RT_TABLE_MAIN = 254;

type Awaitable<T> = T | Promise<T>;

/** The part of `Netlink` that is asked. */
export interface HostQueries {
  links(): Awaitable<readonly Link[]>;
  addresses(): Awaitable<readonly InterfaceAddress[]>;
  routes(filter: { readonly table: number }): Awaitable<readonly Route[]>;
  /** The kernel's route lookup. */
  routeTo(address: IPv4): Awaitable<Pick<Route, "oif" | "source"> | undefined>;
}

/**
 * Asks the kernel for what {@linkcode chooseInterface} needs, chooses, and logs how.
 *
 * @throws {InterfaceError} when no interface fits
 * @throws {SysError} when the kernel does not answer
 */
export async function findExternalInterface(
  options: InterfaceOptions,
  netlink: HostQueries,
): Promise<ExternalInterface> {
  const links = await netlink.links();
  const addresses = await netlink.addresses();
  const routes = await netlink.routes({ table: RT_TABLE_MAIN });
  const reach = options.canReach === undefined
    ? undefined
    : await netlink.routeTo(options.canReach);
  const { external, steps, doubt } = chooseInterface(options, {
    links,
    addresses,
    routes,
    ...(reach === undefined ? {} : { reach }),
  });
  for (const step of steps) info(step);
  if (doubt !== undefined) warning(doubt);
  return external;
}
