import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import type { FdbEntry, Mac } from "../../mod/sys/mod.ts";
import type { LeaseArbiter } from "../reconciled/driver.ts";
import { vtepMac } from "./vtep_mac.ts";

interface Holder {
  readonly publicIP: IPv4;
  leases: number;
}

/**
 * Records which host holds each VTEP MAC. The first host keeps the MAC while it has a lease. The kernel has one
 * FDB entry per MAC, so a second host with the same MAC would receive the packets of the first.
 */
export class VtepHolders {
  readonly #holders = new Map<Mac, Holder>();
  /** Leases of other hosts with a MAC that is taken, by the key of its subnet. */
  readonly #waiting = new Map<Mac, Map<number, Lease>>();

  /**
   * Begins again with all leases. The present holders come first; at the first call those in the kernel's FDB
   * do.
   */
  restart(fdb: Iterable<FdbEntry>): void {
    this.#waiting.clear();
    for (const holder of this.#holders.values()) holder.leases = 0;
    if (this.#holders.size > 0) return;
    for (const { mac, destination } of fdb) {
      if (destination !== undefined) this.#holders.set(mac, { publicIP: destination, leases: 0 });
    }
  }

  /**
   * Claims a MAC for a lease.
   *
   * @returns the host that holds the MAC, while the lease waits; `undefined` when the lease may be programmed
   */
  take(mac: Mac, lease: Lease): IPv4 | undefined {
    const { publicIP } = lease.attributes;
    const holder = this.#holders.get(mac);
    if (holder === undefined) {
      this.#holders.set(mac, { publicIP, leases: 1 });
    } else if (holder.publicIP === publicIP) {
      holder.leases++;
    } else {
      const waiting = this.#waiting.get(mac) ?? new Map<number, Lease>();
      this.#waiting.set(mac, waiting.set(lease.subnet.key, lease));
      return holder.publicIP;
    }
    return undefined;
  }

  /** Releases the MAC of a lease that was programmed. @returns the leases that may have it now */
  release(mac: Mac): Lease[] {
    const holder = this.#holders.get(mac);
    if (holder === undefined || --holder.leases > 0) return [];
    return this.#free(mac);
  }

  /** Forgets a lease that waits. */
  forget(mac: Mac, { subnet }: Lease): void {
    const waiting = this.#waiting.get(mac);
    waiting?.delete(subnet.key);
    if (waiting?.size === 0) this.#waiting.delete(mac);
  }

  /** After all leases were taken: forgets hosts that have none. @returns the leases that waited for them */
  releaseUnclaimed(): Lease[] {
    const unheld = [...this.#holders].filter(([, { leases }]) => leases === 0);
    return unheld.flatMap(([mac]) => this.#free(mac));
  }

  #free(mac: Mac): Lease[] {
    const waiting = [...this.#waiting.get(mac)?.values() ?? []];
    this.#holders.delete(mac);
    this.#waiting.delete(mac);
    return waiting;
  }
}

/** Returns an arbiter that lets the first host with a VTEP MAC have it. */
export function vtepArbiter(): LeaseArbiter {
  const holders = new VtepHolders();
  const macOf = ({ attributes }: Lease) => vtepMac(attributes.backendData);
  return {
    restart: (fdb) => holders.restart(fdb),
    releaseUnclaimed: () => holders.releaseUnclaimed(),
    take(lease) {
      const mac = macOf(lease)!;
      const holder = holders.take(mac, lease);
      return holder === undefined
        ? undefined
        : `has the VTEP MAC ${mac} of ${formatIPv4(holder)}, which had it first`;
    },
    release(lease, wasProgrammed) {
      const mac = macOf(lease);
      if (mac === undefined) return [];
      if (wasProgrammed) return holders.release(mac);
      holders.forget(mac, lease);
      return [];
    },
  };
}
