import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import { verbose } from "../../mod/observe/mod.ts";
import { RT_SCOPE_LINK } from "../../mod/sys/linux_constants.ts";
import type { Netlink, Route } from "../../mod/sys/mod.ts";

/** How long a look-up counts, in milliseconds. */
const MAX_AGE_MS = 60_000;

/** The peers on the external interface's link, for DirectRouting: each is looked up once a minute. */
export class DirectPeers {
  readonly #lookUp: (address: IPv4) => boolean;
  readonly #now: () => number;
  /** In the order in which they expire. */
  readonly #answers = new Map<IPv4, { readonly direct: boolean; readonly until: number }>();

  /**
   * @param lookUp returns whether the kernel reaches an address without a gateway, see {@linkcode isReachedDirectly}
   * @param now a clock in milliseconds. @default performance.now
   */
  constructor(
    lookUp: (address: IPv4) => boolean,
    now: () => number = () => performance.now(),
  ) {
    this.#lookUp = lookUp;
    this.#now = now;
  }

  /** Number of look-ups that are kept. */
  get size(): number {
    return this.#answers.size;
  }

  /** Returns whether packets to the address need no tunnel. */
  has(address: IPv4): boolean {
    const now = this.#now();
    for (const [address, { until }] of this.#answers) {
      if (until > now) break;
      this.#answers.delete(address);
    }
    const known = this.#answers.get(address);
    if (known !== undefined) return known.direct;
    const direct = this.#lookUp(address);
    this.#answers.set(address, { direct, until: now + MAX_AGE_MS });
    return direct;
  }

  /** Forgets all look-ups. */
  clear(): void {
    this.#answers.clear();
  }
}

/** Returns whether the kernel sends to an address by an interface and without a gateway. */
export function isReachedDirectly(netlink: Netlink, oif: number, address: IPv4): boolean {
  try {
    const route = netlink.routeTo(address);
    return route.gateway === undefined && route.oif === oif;
  } catch (error) {
    verbose(2, `no route to ${formatIPv4(address)}: ${(error as Error).message}`);
    return false;
  }
}

/**
 * Returns the prefixes that an interface reaches without a gateway, by the rule of the kernel for the gateway of a
 * new route (fib_check_nh() of net/ipv4/fib_semantics.c): by the routes of link scope or narrower alone.
 */
export function linkPrefixes(routes: readonly Route[], oif: number): Prefix[] {
  return routes.filter((route) => route.oif === oif && isLinkRoute(route))
    .map(({ destination }) => destination);
}

/** Returns whether an address is in one of the prefixes of {@linkcode linkPrefixes}. */
export function isOnLink(address: IPv4, link: readonly Prefix[]): boolean {
  return link.some((prefix) => prefix.contains(address));
}

/** Returns whether a route leads to an interface's link. */
export function isLinkRoute({ gateway, scope }: Pick<Route, "gateway" | "scope">): boolean {
  return gateway === undefined && scope >= RT_SCOPE_LINK;
}
