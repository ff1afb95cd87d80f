import type { IPv4, Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../../mod/lease/mod.ts";
import type { FdbEntry, Link, Mac, Neighbour, Route } from "../../mod/sys/mod.ts";
import { truncate } from "../../mod/text/mod.ts";
import type { Encapsulation, SourceCheck } from "../backend.ts";
import { type PeerRules, refusal } from "../peers.ts";
import { RTPROT_FLANNEL } from "../reconcile.ts";
import { metricOf } from "../route_metric.ts";
import type { DeviceSpec } from "./device.ts";
import { RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** Characters of a value of the store in a log line. */
export const SHOWN = 80;

/** The host and the network that a peer's objects are computed for. */
export interface PeerContext extends PeerRules {
  /** Index of the network's own device; 0 where it has none, or none yet. */
  readonly device: number;
  /** MAC of that device. */
  readonly mac: Mac | undefined;
  readonly external: { readonly name: string; readonly index: number };
  /** Prefixes that the external interface reaches without a gateway. */
  readonly link: readonly Prefix[];
  /** Returns whether packets to a host need no tunnel (DirectRouting). */
  readonly isDirect: (address: IPv4) => boolean;
}

/** The kernel objects of one peer. */
export interface PeerObjects {
  /** Absent where the device is without Ethernet: a neighbour has a MAC. */
  readonly neighbour?: Neighbour;
  readonly fdb?: FdbEntry;
  readonly route: Route;
}

/** A backend of kernel objects alone, for one network: pure functions, and the device that it owns. */
export interface Driver {
  /** MTU for containers, in bytes. */
  readonly mtu: number;
  /** The network's own device; absent where packets leave by the external interface. */
  readonly device?: DeviceSpec;
  /** How packets are encapsulated; absent where they are not. */
  readonly encapsulation?: Encapsulation;
  /** Check of inner sources; absent when packets are not encapsulated. */
  readonly sourceCheck?: SourceCheck;
  /** Peers on the external interface's link get plain routes. @default false */
  readonly directRouting?: boolean;
  /** No peer can be routed to while the external interface has no prefix of its own. @default false */
  readonly needsLink?: boolean;
  /** Decides between leases that ask for one kernel object. @default the latest lease has it */
  readonly arbiter?: LeaseArbiter;
  /** Returns why a lease is not programmed, besides the rules that all backends share. */
  refusal?(lease: Lease, context: PeerContext): string | undefined;
  /** Returns the objects of a peer that was not refused and is not direct. */
  desired(lease: Lease, context: PeerContext): PeerObjects;
  /** Returns `BackendData` of this host's lease. @default none */
  leaseData?(form: LeaseForm, device: Link): JsonValue;
  /** See {@linkcode Network.foreignLeaseReason}. */
  foreignLeaseReason?(lease: Lease, device: Link): string | undefined;
}

/** Lets one of several leases have an object that the kernel has once. */
export interface LeaseArbiter {
  /** Begins again with all leases. @param fdb entries of the device in the kernel */
  restart(fdb: Iterable<FdbEntry>): void;
  /** Claims the object for a lease. @returns why the lease has to wait; `undefined` when it has the object */
  take(lease: Lease): string | undefined;
  /** Gives up what a lease claimed. @returns leases that may have it now */
  release(lease: Lease, wasProgrammed: boolean): Lease[];
  /** After all leases were taken: gives up what none claimed. @returns leases that may have it now */
  releaseUnclaimed(): Lease[];
}

/** Returns why a lease of a peer is not programmed; `undefined` when it is. */
export function peerRefusal(
  type: string,
  driver: Driver,
  lease: Lease,
  context: PeerContext,
): string | undefined {
  const { backendType = "" } = lease.attributes;
  if (backendType !== type) {
    return `is non-${type}: type=${
      backendType === "" ? "udp or none" : truncate(backendType, SHOWN)
    }`;
  }
  return refusal(lease, context, () => peerObjects(driver, lease, context).route) ??
    driver.refusal?.(lease, context);
}

/** Returns the objects of a peer that was not refused. */
export function peerObjects(driver: Driver, lease: Lease, context: PeerContext): PeerObjects {
  if (!context.isDirect(lease.attributes.publicIP)) return driver.desired(lease, context);
  return { route: peerRoute(lease, context, "external") };
}

/**
 * Returns a route to a peer's subnet by its host.
 *
 * @param by the network's own device, where the gateway counts as reachable, or the external interface
 * @param gateway @default the peer's public IP
 */
export function peerRoute(
  { subnet, attributes }: Lease,
  { config, device, external }: PeerContext,
  by: "device" | "external",
  gateway: IPv4 = attributes.publicIP,
): Route {
  return {
    destination: subnet,
    gateway,
    oif: by === "device" ? device : external.index,
    onlink: by === "device",
    protocol: RTPROT_FLANNEL,
    scope: RT_SCOPE_UNIVERSE,
    table: RT_TABLE_MAIN,
    metric: metricOf(subnet, config),
  };
}
