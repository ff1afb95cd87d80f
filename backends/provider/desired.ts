import type { Prefix } from "../../mod/ip/mod.ts";
import type { DiffLine } from "../describe.ts";
import type { HostSetting, ProviderRoute, RouteTable, Survey } from "./provider.ts";

/** Wanted contents of each table. */
export interface Wanted {
  /** Our subnet; without one, no route shall lead here. */
  readonly own: Prefix | undefined;
  /** The network, and those that were served on this host before. */
  readonly networks: readonly Prefix[];
  /** Prefix length of the network's leases. */
  readonly subnetLen: number;
}

/** A step from what is there to what shall be. */
export type ProviderChange =
  | { readonly op: "set"; readonly setting: HostSetting }
  | { readonly op: "create"; readonly table: RouteTable; readonly destination: Prefix }
  | {
    readonly op: "replace" | "remove";
    readonly table: RouteTable;
    readonly route: ProviderRoute;
  };

/**
 * Compares what a provider has with what there shall be: one route to our subnet in each table. Removes
 * besides routes inside the networks that lead to something that is gone, and routes that lead here for a lease that
 * this host no longer holds (identified by the length of a lease: a prefix that an operator routes here by hand is
 * longer or shorter).
 *
 * Removals come first, since tables have limits.
 */
export function diffRoutes({ tables, settings }: Survey, wanted: Wanted): ProviderChange[] {
  const changes: ProviderChange[] = settings.map((setting) => ({ op: "set", setting }));
  for (const table of tables) {
    for (const route of table.routes) {
      if (isStale(route, wanted)) changes.push({ op: "remove", table, route });
    }
  }
  const { own } = wanted;
  if (own === undefined) return changes;
  for (const table of tables) {
    // Beside one that nobody can change another may stand, and where it may win.
    const there = table.routes.find(({ destination, target, isFixed = false }) =>
      destination.equals(own) && (target === "own" || !isFixed)
    );
    if (there === undefined) changes.push({ op: "create", table, destination: own });
    else if (there.target !== "own") changes.push({ op: "replace", table, route: there });
  }
  return changes;
}

function isStale(route: ProviderRoute, { own, networks, subnetLen }: Wanted): boolean {
  const { destination, target, isFixed = false } = route;
  if (isFixed || target === "other" || own?.equals(destination)) return false;
  const isInside = networks.some((network) =>
    network.containsPrefix(destination) && !network.equals(destination)
  );
  return isInside && (target === "gone" || destination.length === subnetLen);
}

/** A route to this host's subnet that nobody can replace. */
export interface FixedRoute {
  /** Id of its table. */
  readonly table: string;
  /** The fault, one sentence. */
  readonly text: string;
}

/** Returns the routes to this host's subnet that nobody can replace, where the host has none of its own. */
export function fixedRoutes({ tables }: Survey, own: Prefix): FixedRoute[] {
  return tables.flatMap(({ id, routes }) => {
    const toOwn = routes.filter(({ destination }) => destination.equals(own));
    if (toOwn.some(({ target }) => target === "own")) return [];
    return toOwn
      .filter(({ isFixed = false }) => isFixed)
      .map(({ via }) => ({
        table: id,
        text: `route ${own} in ${id} leads to ${via} and cannot be replaced: packets to our ` +
          "subnet do not come here",
      }));
  });
}

/** The lines of a diff. */
export function describeProviderChange(change: ProviderChange, self: string): DiffLine[] {
  switch (change.op) {
    case "set":
      return [
        { sign: "-", text: change.setting.before },
        { sign: "+", text: change.setting.after },
      ];
    case "create":
      return [{ sign: "+", text: routeText(change.table, change.destination, self) }];
    case "remove":
      return [{ sign: "-", text: existing(change.table, change.route) }];
    case "replace":
      return [
        { sign: "-", text: existing(change.table, change.route) },
        { sign: "+", text: routeText(change.table, change.route.destination, self) },
      ];
  }
}

function existing(table: RouteTable, { destination, via, target }: ProviderRoute): string {
  return routeText(table, destination, target === "gone" ? `${via}, which is gone` : via);
}

function routeText({ id }: RouteTable, destination: Prefix, via: string): string {
  return `route ${destination} in ${id} to ${via}`;
}
