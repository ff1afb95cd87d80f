import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import { StoreError } from "../../mod/store/errors.ts";
import { releaseReservation, ReservationError, reserveSubnet } from "../../mod/subnet/reserve.ts";
import { ModelProcess } from "./process.ts";

/** Somebody who reserves subnets by `flanneld lease`, one command at a time. */
export class ModelOperator extends ModelProcess {
  /** Reservations that have succeeded: the subnet's text, and its host's public IP. */
  readonly reserved = new Map<string, string>();

  /** Begins to reserve a subnet. */
  reserve(subnet: Prefix, publicIP: IPv4): Promise<void> {
    return this.#attempt("reserve", async () => {
      await reserveSubnet(this.store, subnet, publicIP);
      this.reserved.set(`${subnet}`, formatIPv4(publicIP));
    });
  }

  /** Begins to give all reservations of a subnet up. */
  release(subnet: Prefix): Promise<void> {
    this.reserved.delete(`${subnet}`);
    return this.#attempt("release", async () => {
      await releaseReservation(this.store, subnet);
    });
  }

  #attempt(what: string, command: () => Promise<void>): Promise<void> {
    return this.begin(what, async () => {
      try {
        await command();
      } catch (error) {
        if (!(error instanceof ReservationError || error instanceof StoreError)) throw error;
      }
    });
  }
}
