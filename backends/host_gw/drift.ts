import type { Prefix } from "../../mod/ip/mod.ts";
import type { KernelEvent, Route } from "../../mod/sys/mod.ts";
import { sameRoute } from "../reconcile.ts";
import { IFF_UP, RT_SCOPE_LINK, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** What of the kernel's state routes by a gateway depend on. */
export interface GatewayState {
  readonly external: { readonly name: string; readonly index: number };
  /** The route that a peer with exactly this subnet has. */
  route(subnet: Prefix): Route | undefined;
}

/**
 * Tells damage from other kernel events.
 *
 * An interface that goes down, or loses its last address, takes its routes with it without a word
 * from the kernel; they can be had again once it is up and has its own network, which is told.
 */
export class GatewayDrift {
  #down = false;

  /**
   * What of ours an event says was taken away or altered, or can be had again; `undefined` when
   * nothing. Our own changes agree with what is wanted, and so are no drift.
   */
  report(event: KernelEvent, { external, route: wanted }: GatewayState): string | undefined {
    switch (event.type) {
      case "overrun":
        return "kernel events were lost";
      case "link": {
        if (event.link.index !== external.index) return undefined;
        const wasDown = this.#down;
        this.#down = (event.link.flags & IFF_UP) === 0;
        return wasDown && !this.#down
          ? `${external.name} came back, its routes did not`
          : undefined;
      }
      case "route":
      case "route-removed": {
        const { route } = event;
        if (route.table !== RT_TABLE_MAIN) return undefined;
        const gone = event.type === "route-removed";
        if (
          route.oif === external.index && route.gateway === undefined &&
          route.scope >= RT_SCOPE_LINK
        ) {
          return `${external.name} is ${gone ? "no longer" : "now"} on ${route.destination}`;
        }
        const want = wanted(route.destination);
        if (want === undefined || route.metric !== want.metric) return undefined;
        const same = sameRoute(route, want);
        // Another route's removal uncovers ours; our own must come back.
        return same === gone
          ? `route to ${want.destination} ${same ? "removed" : "altered"}`
          : undefined;
      }
      default:
        return undefined;
    }
  }
}
