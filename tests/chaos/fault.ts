import type { GuideBackend } from "../e2e/guide.ts";
import type { ChaosCluster, ChaosHost } from "./cluster.ts";

/** Where a cluster keeps its leases. */
export type StoreKind = "v2" | "v3" | "embedded";

export const STORE_KINDS: readonly StoreKind[] = ["v2", "v3", "embedded"];

/** Stores that etcd's members serve. */
export const ETCD: readonly StoreKind[] = ["v2", "v3"];

/** Properties of a fault for the schedule. */
export interface FaultTraits {
  readonly name: string;
  /** Stores that it can happen to. */
  readonly stores: readonly StoreKind[];
  /** @default all */
  readonly backends?: readonly GuideBackend["type"][];
  /** Exclusive resources; faults of one round share none of it. A cluster's is alone in its round. */
  readonly scope: "host" | "store" | "cluster";
  /** How long it stays, in milliseconds: in a short run and in a long one. */
  readonly holdMs: readonly [short: number, long: number];
}

/** Something that goes wrong, and what may follow from it. */
export interface Fault extends FaultTraits {
  /** Whose pings may be lost, from the injection until the calm that follows. */
  readonly affects: "nobody" | "host" | "everybody";
  /** Effects that do not break an invariant. */
  readonly allows?: readonly Consequence[];
  /** @returns what ends it */
  inject(target: Target): Promise<Heal>;
}

export type Consequence =
  /** The agent ends by itself, with an exit code of docs/reference/exit-codes.md. */
  | "exit"
  /** Hosts carry packets to {@linkcode STRAY}, which holds a lease that can be used. */
  | "stray";

export type Heal = () => Promise<void>;

/** Target of a fault. */
export interface Target {
  readonly cluster: ChaosCluster;
  /** For a fault of one host; any other for the others. */
  readonly host: ChaosHost;
  /** A whole number from 0 to below the argument, from the run's seed. */
  readonly random: (below: number) => number;
  /** Whether the run is long: then what takes a minute may take it. */
  readonly isLong: boolean;
}

/** Address of a host that is not there, whose lease is like any other. */
export const STRAY = "172.28.128.8";

/** Address that only leases have which no agent may follow. */
export const HOSTILE = "172.28.128.9";
