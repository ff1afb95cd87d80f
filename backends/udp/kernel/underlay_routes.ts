import { type IPv4, Prefix } from "../../../mod/ip/mod.ts";
import { type Netlink, SysError } from "../../../mod/sys/mod.ts";

/** As many answers are had in the time that it takes to read the tables. */
const FEW = 50;

/** Addresses that are in the same prefixes, and so are reached by the same interface. */
interface Kin {
  readonly isSpread: boolean;
  /** Index; 0 when there is no way. */
  oif?: number;
}

/**
 * By which interfaces the kernel would send to addresses, at one moment. It asks about a few one by one; about
 * many it asks once for all that no route tells apart: 65,536 questions take 0.4 s.
 */
export class UnderlayRoutes {
  readonly #netlink: Netlink;
  #asked = 0;
  /** By key of the longest prefix that holds them. */
  #kin: Map<number, Kin> | undefined;
  /** Those that are in none. */
  readonly #strangers: Kin = { isSpread: false };
  /** Lengths that there are, the longest first. */
  #lengths: readonly number[] = [];

  constructor(netlink: Netlink) {
    this.#netlink = netlink;
  }

  /** Index of the interface that packets to an address leave by; 0 when the kernel knows no way. */
  interfaceTo(address: IPv4): number {
    if (this.#kin === undefined) {
      if (this.#asked++ < FEW) return this.#ask(address);
      this.#read();
    }
    const kin = this.#kinOf(address);
    if (kin.isSpread) return this.#ask(address);
    return kin.oif ??= this.#ask(address);
  }

  #ask(address: IPv4): number {
    try {
      return this.#netlink.routeTo(address).oif;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return 0;
    }
  }

  #kinOf(address: IPv4): Kin {
    for (const length of this.#lengths) {
      const kin = this.#kin!.get(new Prefix(address, length).key);
      if (kin !== undefined) return kin;
    }
    return this.#strangers;
  }

  #read(): void {
    const spread = new Map<number, boolean>();
    const prefixes = new Map<number, Prefix>();
    for (const { prefix, isSpread } of this.#netlink.destinations()) {
      prefixes.set(prefix.key, prefix);
      spread.set(prefix.key, isSpread || spread.get(prefix.key) === true);
    }
    const lengths = [...new Set(Array.from(prefixes.values(), ({ length }) => length))];
    this.#lengths = lengths.sort((a, b) => b - a);
    this.#kin = new Map();
    for (const [key, { address, length }] of prefixes) {
      // A rule may keep the longest from being taken, so that one around it is.
      const isSpread = this.#lengths.some((outer) =>
        outer <= length && spread.get(new Prefix(address, outer).key) === true
      );
      this.#kin.set(key, { isSpread });
    }
  }
}
