import type { NetworkConfig } from "../mod/config/mod.ts";
import type { ExternalInterface } from "../mod/host/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../mod/lease/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../mod/subnet/mod.ts";
import type { Netlink } from "../mod/sys/mod.ts";

/** What a backend is given: the network it serves and the host it runs on. */
export interface BackendContext {
  readonly config: NetworkConfig;
  /** Where encapsulated packets leave and arrive. */
  readonly external: ExternalInterface;
  readonly netlink: Netlink;
}

/** One way of carrying packets between hosts. */
export interface Backend {
  /** Value of `Backend.Type`, lower case. */
  readonly type: string;
  /**
   * Reads the backend's options and makes its device ready. No lease is needed yet, since a lease
   * may have to carry what only the device knows (a VTEP's MAC).
   *
   * @throws {ConfigError} for a bad option
   * @throws {SysError} when the kernel refuses the device
   */
  prepare(context: BackendContext): Promise<Network>;
}

/** A backend at work for one network. The kernel state it makes outlives it. */
export interface Network {
  /** For containers, in bytes: what fits into the external interface after encapsulation. */
  readonly mtu: number;
  /** `BackendType` of our lease; absent for udp and alloc. */
  readonly leaseType?: string;
  /** `BackendData` of our lease in the given form; absent when the backend has none. */
  leaseData(form: LeaseForm): JsonValue | undefined;

  /**
   * Brings everything in the kernel to what `own` and `peers` ask for: dump, diff, one batch. Used
   * at start, after a resync, when our own lease changed, and to repair drift.
   * Cost: one dump of each table plus O(differences).
   */
  sync(own: Lease, peers: LeaseSet): Promise<void>;

  /** Carries one change of the peers to the kernel. Cost: O(changes). */
  apply(change: LeaseSetChange): Promise<void>;

  /** What the backend is doing, for logs and status. */
  status(): NetworkStatus;

  /**
   * Watches for what others do to the kernel state and calls `repair` (which ends in
   * {@linkcode Network.sync}) when ours was touched. Ends when `signal` aborts.
   */
  run(signal: AbortSignal, repair: (what: string) => void): Promise<void>;
}

/** Counts for logs and status. */
export interface NetworkStatus {
  /** `flannel.1`; absent without a device. */
  readonly device?: string;
  /** Peers whose objects are programmed. */
  readonly peers: number;
  /** Subnets that were refused, with the reason. */
  readonly refused: ReadonlyMap<string, string>;
}
