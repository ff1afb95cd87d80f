import { gatewayOf, type IPv4, parseIPv4 } from "../ip/mod.ts";
import { DockerPluginError } from "./errors.ts";
import type { DockerLinks } from "./kernel.ts";
import { choosePool, type HostLeases, nextAddress, presentPool, requireFree } from "./leases.ts";
import { formatNetworkAddress, type JsonObject, text } from "./protocol/fields.ts";
import { formatPoolId, readAddressRequest, readPoolRequest } from "./protocol/ipam.ts";
import type { Calls } from "./calls.ts";

/** Milliseconds between an address and the endpoint that has it; dockerd takes a few. */
const RESERVED_MS = 60_000;

/** Hands out addresses of this host's leases. */
export class IpamDriver {
  readonly #leases: HostLeases;
  readonly #links: DockerLinks;
  /** Addresses that were given to containers without an interface yet, and when. */
  readonly #reserved = new Map<IPv4, number>();
  /** The address that was given last, by the pool's key. */
  readonly #last = new Map<number, IPv4>();

  constructor(leases: HostLeases, links: DockerLinks) {
    this.#leases = leases;
    this.#links = links;
  }

  readonly calls: Calls = {
    // The identifier of a pool has all that there is to know: dockerd need not replay its requests.
    GetCapabilities: () => ({ RequiresMACAddress: false, RequiresRequestReplay: false }),
    GetDefaultAddressSpaces: () => ({
      ...{ LocalDefaultAddressSpace: "flannel", GlobalDefaultAddressSpace: "flannel" },
    }),
    RequestPool: (from) => this.#requestPool(from),
    ReleasePool: () => ({}),
    RequestAddress: (from) => this.#requestAddress(from),
    ReleaseAddress: (from) => {
      const address = parseIPv4(text(from, "Address"));
      if (address !== undefined) this.#reserved.delete(address);
      return {};
    },
  };

  async #requestPool(from: JsonObject): Promise<object> {
    const { id, pool } = choosePool(await this.#leases.wanted(), readPoolRequest(from));
    this.#links.requireUnused(pool);
    return { PoolID: formatPoolId(id), Pool: String(pool), Data: {} };
  }

  async #requestAddress(from: JsonObject): Promise<object> {
    const request = readAddressRequest(from);
    const pool = presentPool(await this.#leases.wanted(), request.pool);
    const answer = (address: IPv4) => ({
      Address: formatNetworkAddress({ address, pool }),
      Data: {},
    });
    if (request.isGateway) {
      const gateway = gatewayOf(pool);
      if ((request.address ?? gateway) !== gateway) {
        throw new DockerPluginError(
          `the gateway of ${pool} is its first address: leave --gateway out`,
        );
      }
      return answer(gateway);
    }
    const now = performance.now();
    for (const [address, since] of this.#reserved) {
      if (now - since > RESERVED_MS) this.#reserved.delete(address);
    }
    const inUse = this.#links.addressesInUse();
    const isTaken = (one: IPv4) => inUse.has(one) || this.#reserved.has(one);
    const { address = nextAddress(pool, this.#last.get(pool.key), isTaken) } = request;
    if (request.address === undefined) this.#last.set(pool.key, address);
    else requireFree(pool, address, isTaken);
    this.#reserved.set(address, now);
    return answer(address);
  }
}
