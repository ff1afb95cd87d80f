import { sleep } from "../async/sleep.ts";
import { containerRange, formatIPv4, freeAddress, type IPv4, type Prefix } from "../ip/mod.ts";
import { DockerPluginError } from "./errors.ts";
import type { PoolId, PoolRequest } from "./protocol/ipam.ts";

/** A network of flannel's that this host has a lease of. */
export interface LeasedNetwork {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** The network of all hosts. */
  readonly network: Prefix;
  /** This host's lease. */
  readonly subnet: Prefix;
  /** Of containers, in bytes. */
  readonly mtu: number;
}

/** Milliseconds between two reads of the leases. */
const POLL_MS = 50;

/** This host's present leases. */
export class HostLeases {
  readonly #read: () => readonly LeasedNetwork[];
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;

  /** @param timeoutMs milliseconds that {@linkcode HostLeases.wanted} waits for a lease */
  constructor(read: () => readonly LeasedNetwork[], timeoutMs: number, signal: AbortSignal) {
    this.#read = read;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
  }

  /** The leases of this moment. */
  get present(): readonly LeasedNetwork[] {
    return this.#read();
  }

  /** Waits for a lease, for instance after a boot. @returns none when there is still none */
  async wanted(): Promise<readonly LeasedNetwork[]> {
    for (const start = performance.now();; await sleep(POLL_MS, this.#signal)) {
      const leases = this.#read();
      const isLate = performance.now() - start >= this.#timeoutMs;
      if (leases.length > 0 || isLate || this.#signal.aborted) return leases;
    }
  }
}

/** Longest prefix that has an address for a container beside network, gateway and broadcast address. */
const MAX_LENGTH = 30;

/**
 * Returns the addresses of a new Docker network, as they are now and as they will be found again.
 *
 * @throws {DockerPluginError} when this host has no such lease, or it does not hold the subnet
 */
export function choosePool(
  leases: readonly LeasedNetwork[],
  { pool, network }: PoolRequest,
): { readonly id: PoolId; readonly pool: Prefix } {
  if (pool !== undefined) {
    const { name } = leaseOf(leases, pool, "give --subnet a part of it, or leave --subnet out");
    if (network !== undefined && network !== name) {
      throw new DockerPluginError(`${pool} is of network ${name}, not ${network}`);
    }
    if (pool.length > MAX_LENGTH) {
      throw new DockerPluginError(`${pool} is too small: expected /${MAX_LENGTH} or shorter`);
    }
    return { id: { part: pool }, pool };
  }
  if (network === undefined && leases.length > 1) {
    throw new DockerPluginError(
      `this host has leases of several networks: choose with --ipam-opt network=NAME among ${
        leases.map(({ name }) => name).join(", ")
      }`,
    );
  }
  const name = network ?? leases[0]?.name ?? "";
  return { id: { network: name }, pool: presentPool(leases, { network: name }) };
}

/**
 * Returns the present addresses of a Docker network.
 *
 * @throws {DockerPluginError} when this host has no such lease any more
 */
export function presentPool(leases: readonly LeasedNetwork[], id: PoolId): Prefix {
  if ("part" in id) {
    leaseOf(leases, id.part, "create the Docker network again");
    return id.part;
  }
  const lease = leases.find(({ name }) => name === id.network);
  if (lease !== undefined) return lease.subnet;
  requireLease(leases);
  throw new DockerPluginError(`this host has no lease of network ${JSON.stringify(id.network)}`);
}

/**
 * Returns the lease that holds a subnet.
 *
 * @param advice what to do where there is none
 * @throws {DockerPluginError} when there is none
 */
export function leaseOf(
  leases: readonly LeasedNetwork[],
  pool: Prefix,
  advice: string,
): LeasedNetwork {
  requireLease(leases);
  const lease = leases.find(({ subnet }) => subnet.containsPrefix(pool));
  if (lease !== undefined) return lease;
  const subnets = leases.map(({ subnet }) => subnet).join(", ");
  throw new DockerPluginError(`${pool} is not in this host's lease ${subnets}: ${advice}`);
}

function requireLease(leases: readonly LeasedNetwork[]): void {
  if (leases.length > 0) return;
  throw new DockerPluginError("this host has no lease yet; flanneld status shows the reason");
}

/**
 * Chooses the address of a container, see {@linkcode freeAddress}.
 *
 * @throws {DockerPluginError} when none is free
 */
export function nextAddress(
  pool: Prefix,
  last: IPv4 | undefined,
  isTaken: (address: IPv4) => boolean,
): IPv4 {
  const address = freeAddress(pool, last, isTaken);
  if (address !== undefined) return address;
  throw new DockerPluginError(`all ${Math.max(0, pool.size - 3)} addresses of ${pool} are in use`);
}

/**
 * Checks an address that an operator chose for a container.
 *
 * @throws {DockerPluginError} when it is no container's address of the pool, or in use
 */
export function requireFree(
  pool: Prefix,
  address: IPv4,
  isTaken: (address: IPv4) => boolean,
): void {
  const { first, last } = containerRange(pool);
  if (address < first || address > last) {
    throw new DockerPluginError(
      `${formatIPv4(address)} is no container's address of ${pool}: expected ` +
        `${formatIPv4(first)} to ${formatIPv4(last)}`,
    );
  }
  if (isTaken(address)) throw new DockerPluginError(`${formatIPv4(address)} is in use`);
}
