import { decodeNetworkConfig, type NetworkConfig } from "../../mod/config/mod.ts";
import type { StoreTraits } from "./store_data.ts";

/** A setting to explore. */
export interface Scenario {
  readonly name: string;
  readonly store: StoreTraits;
  /** Public IP of each host, by its name. */
  readonly hosts: Readonly<Record<string, string>>;
  /** Subnets that there are to lease. */
  readonly subnets: number;
  /** Faults and other events from outside that a schedule has at most. */
  readonly disturbances: number;
  /** Kinds of disturbances. @default all that the store supports */
  readonly kinds?: readonly Disturbance[];
  /** The hosts have leased their subnets and know of each other before the schedule begins. */
  readonly isRunning?: boolean;
  /** Public IP that the operator reserves the first subnet for. */
  readonly reserveFor?: string;
}

/** An event from outside. */
export type Disturbance = (typeof DISTURBANCES)[number];

/** All that there are. */
export const DISTURBANCES = [
  /** The reply to a write is lost. */
  "lose",
  /** A request is lost. */
  "drop",
  /** A write is given up, and reaches the store later. */
  "late",
  /** The process stands still while the reply to a write is on its way. */
  "slow",
  /** The reply to a write is lost, and the adapter repeats it at another endpoint. */
  "repeat",
  /** The agent is killed; subnet.env stays. */
  "kill",
  /** The host is rebooted; subnet.env is gone. */
  "reboot",
  /** The host is cut off from the store. */
  "cut",
  /** The renewal of lease and record becomes due. */
  "renew",
  /** An agent that was refused is started again. */
  "again",
  /** The store forgets its history (v2: 1000 events, v3: compaction, remote: restart). */
  "forget",
  /** The clock that lifetimes end by jumps ahead by a day. */
  "jump",
  /** An operator reserves a subnet, or gives the reservation up. */
  "reserve",
  "release",
] as const;

/** Returns the disturbances of a scenario that its store supports. */
export function disturbancesOf(
  { store, kinds = DISTURBANCES, reserveFor }: Scenario,
): ReadonlySet<Disturbance> {
  return new Set(kinds.filter((kind) => {
    switch (kind) {
      case "lose":
      case "late":
      case "slow":
      case "repeat":
      case "cut":
        return store.repeatedWrite !== undefined;
      case "jump":
        return store.expiresByWallClock;
      case "reserve":
      case "release":
        return reserveFor !== undefined;
      default:
        return true;
    }
  }));
}

/** The network config of a scenario. */
export function configOf({ subnets }: Scenario): Promise<NetworkConfig> {
  return decodeNetworkConfig(JSON.stringify({
    ...{ Network: "10.20.0.0/16", SubnetLen: 24, SubnetMin: "10.20.1.0" },
    SubnetMax: `10.20.${subnets}.0`,
  }));
}
