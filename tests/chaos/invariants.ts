import {
  hostRoutes,
  isContainerAddress,
  type KernelDump,
  type LeaseFacts,
  remoteAddresses,
} from "./kernel_state.ts";

/** Resident memory of an agent, in MiB: twice what one takes that has followed 200 configs. */
const MAX_RESIDENT_MIB = 300;

/** Log that an agent may write in a minute, in bytes: 100 times that of a quiet one, and room for a fault. */
const MAX_LOG_BYTES_A_MINUTE = 100_000;

/** A host at one moment. */
export interface HostState {
  readonly name: string;
  readonly publicIP: string;
  /** Of subnet.env; `undefined` when there is none. */
  readonly subnet: string | undefined;
  /** An injected fault may change its lease and cost its packets. */
  readonly isAffected: boolean;
  readonly kernel: KernelDump | undefined;
  /** {@linkcode hostRoutes} of before the first agent. */
  readonly routesBefore: readonly string[];
  /** Of the agent, in MiB; 0 while none runs. */
  readonly residentMiB: number;
  /** Log of its agents so far. */
  readonly logBytes: number;
  /** For how long, in minutes. */
  readonly logMinutes: number;
}

/** A cluster at one moment, as far as it could be read. */
export interface ClusterState {
  /** `undefined` while the store does not answer. */
  readonly leases: readonly LeaseFacts[] | undefined;
  readonly hosts: readonly HostState[];
  /** Addresses besides those of the hosts that leases with a use have now. */
  readonly strays: readonly string[];
}

/** A broken invariant. */
export interface Broken {
  readonly invariant: string;
  readonly detail: string;
}

/** Returns the violations in any state. */
export function findBroken(state: ClusterState): Broken[] {
  return [
    ...holders(state),
    ...foreignObjects(state),
    ...changedRoutes(state),
    ...excess(state),
  ];
}

/** A subnet has one holder. A host that a fault affects may not know yet that it has lost its own. */
function holders({ hosts, leases }: ClusterState): Broken[] {
  const broken: Broken[] = [];
  const invariant = "no subnet with two live holders";
  const found = new Map<string, string>();
  for (const { name, subnet, publicIP, isAffected } of hosts) {
    if (subnet === undefined || isAffected) continue;
    const other = found.get(subnet);
    if (other !== undefined) broken.push({ invariant, detail: `${other} and ${name}: ${subnet}` });
    found.set(subnet, name);
    if (leases === undefined) continue;
    const holder = leases.find((lease) => lease.subnet === subnet)?.publicIP;
    if (holder === publicIP) continue;
    broken.push({
      invariant,
      detail: `${name} (${publicIP}) uses ${subnet}, whose lease ` +
        (holder === undefined ? "is not there" : `${holder} holds`),
    });
  }
  return broken;
}

function foreignObjects({ hosts, strays }: ClusterState): Broken[] {
  const peers = hosts.map(({ publicIP }) => publicIP);
  return hosts.flatMap(({ name, publicIP, kernel }) => {
    if (kernel === undefined) return [];
    const allowed = new Set([...peers.filter((peer) => peer !== publicIP), ...strays]);
    const outside = kernel.routes.filter(({ protocol, dst }) =>
      protocol === "102" && !isContainerAddress(dst)
    ).map(({ dst }) => `a route of protocol 102 to ${dst}`);
    const foreign = remoteAddresses(kernel).filter((address) => !allowed.has(address))
      .map((address) => `an object that leads to ${address}`);
    return [...outside, ...foreign].map((what) => ({
      invariant: "no foreign object programmed",
      detail: `${name} has ${what}`,
    }));
  });
}

function changedRoutes({ hosts }: ClusterState): Broken[] {
  return hosts.flatMap(({ name, kernel, routesBefore }) => {
    if (kernel === undefined) return [];
    const now = hostRoutes(kernel);
    return [
      ...routesBefore.filter((route) => !now.includes(route)).map((route) => `lost ${route}`),
      ...now.filter((route) => !routesBefore.includes(route)).map((route) => `got ${route}`),
    ].map((what) => ({ invariant: "no host route changed", detail: `${name} ${what}` }));
  });
}

function excess({ hosts }: ClusterState): Broken[] {
  return hosts.flatMap(({ name, residentMiB, logBytes, logMinutes }) => {
    const broken: Broken[] = [];
    if (residentMiB > MAX_RESIDENT_MIB) {
      const detail = `${name}: more than ${MAX_RESIDENT_MIB} MiB`;
      broken.push({ invariant: "resident memory bounded", detail });
    }
    // One minute is given to the start.
    if (logBytes > MAX_LOG_BYTES_A_MINUTE * (1 + logMinutes)) {
      const detail = `${name}: more than ${MAX_LOG_BYTES_A_MINUTE} bytes a minute`;
      broken.push({ invariant: "log bounded", detail });
    }
    return broken;
  });
}
