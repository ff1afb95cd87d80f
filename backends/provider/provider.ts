import type { Prefix } from "../../mod/ip/mod.ts";

/**
 * A provider's route tables, as seen by one of its machines: all that a cloud backend has to bring.
 * `diffRoutes` decides on the changes, `ProviderNetwork` when and how often they are tried.
 *
 * Each call is one attempt, or waits for what it has begun; it throws `ProviderError`. Throttling,
 * failures of the provider and the time that it may all take are the caller's.
 */
export interface RouteProvider {
  /** Finds out how things are. Changes nothing. */
  survey(signal: AbortSignal): Promise<Survey>;
  /**
   * Makes a route to this machine.
   *
   * @throws {ProviderError} `exists` when there is one for this destination
   */
  create(table: RouteTable, destination: Prefix, signal: AbortSignal): Promise<void>;
  /**
   * Leads a route to this machine instead, at once where the provider can.
   *
   * @throws {ProviderError} `missing` when it is gone
   */
  replace(table: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void>;
  /**
   * Removes a route.
   *
   * @throws {ProviderError} `missing` when it is gone
   */
  remove(table: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void>;
}

/** How things are at one moment. */
export interface Survey {
  /** Target of routes to this machine, in the provider's words: `eni-0a1b2c`. */
  readonly self: string;
  /** The tables that need this host's route. */
  readonly tables: readonly RouteTable[];
  /** Settings of this machine that have to change. */
  readonly settings: readonly HostSetting[];
  /** Obstacles that only an operator removes, one sentence each. */
  readonly obstacles: readonly string[];
}

/** A route table. */
export interface RouteTable {
  /** As the provider calls it: `rtb-0a1b2c`, `network default`. */
  readonly id: string;
  /** Its IPv4 routes, as far as they may concern us. */
  readonly routes: readonly ProviderRoute[];
}

/** A route in a provider's table. */
export interface ProviderRoute {
  readonly destination: Prefix;
  /** Where it leads: to this machine, elsewhere, or to something that is gone. */
  readonly target: "own" | "other" | "gone";
  /** The same in the provider's words: `eni-0a1b2c`. */
  readonly via: string;
  /** Its name, where routes have one. */
  readonly name?: string;
  /** True where nobody can change it by a call: the VPC's own, or propagated. @default false */
  readonly isFixed?: boolean;
}

/** Something at this machine that has to be set at the provider. */
export interface HostSetting {
  /** How it is: `source/destination check of eni-0a1b2c on`. */
  readonly before: string;
  /** How it shall be. */
  readonly after: string;
  /**
   * Sets it.
   *
   * @throws {ProviderError} when the provider refuses
   */
  apply(signal: AbortSignal): Promise<void>;
}
