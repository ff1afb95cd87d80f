import { formatIPv4, Prefix } from "../../mod/ip/mod.ts";
import { PERMANENT } from "../../mod/lease/mod.ts";
import type { ModelHost } from "./host.ts";
import type { World } from "./world.ts";

/** Returns the violation in a state; `undefined` when there is none. */
export function findProblem(world: World): string | undefined {
  if (world.problem !== undefined) return world.problem;
  for (const host of world.hosts) {
    const { agent } = host;
    const lease = agent?.keeper.lease;
    if (agent === undefined || lease === undefined) continue;
    if (!stands(world, host)) {
      // The window: the news is on its way, or the host cannot have it.
      const notices = !host.isConnected || agent.isBusy || agent.isRetryPlanned ||
        agent.hasNews;
      if (!notices) return `${host.name} does not notice that it has lost ${lease.subnet}`;
    }
    if (!agent.isBusy && lease.ttl !== PERMANENT && !agent.isRenewalPlanned) {
      return `${host.name} does not plan to renew ${lease.subnet}`;
    }
  }
  for (const [subnet, publicIP] of world.operator.reserved) {
    const entry = world.data.entries.get(world.keyOf(Prefix.parse(subnet)!));
    if (entry?.ttl !== PERMANENT || !entry.value.includes(`"${publicIP}"`)) {
      return `the reservation of ${subnet} for ${publicIP} is gone`;
    }
  }
  return undefined;
}

/** Returns the violation in a state of rest; `undefined` when there is none. */
export function findProblemAtRest(world: World): string | undefined {
  const problem = findProblem(world);
  if (problem !== undefined) return problem;
  const holders = new Map<string, string>();
  for (const host of world.hosts) {
    const { agent, name } = host;
    if (agent === undefined) continue;
    const lease = agent.keeper.lease;
    if (lease === undefined) {
      const free = world.subnets.find((subnet) => !world.data.entries.has(world.keyOf(subnet)));
      if (free !== undefined) return `${name} has no lease, and ${free} is free`;
      continue;
    }
    if (!stands(world, host)) return `${name} believes in ${lease.subnet}, which it has not`;
    for (const thing of [`${lease.subnet}`, formatIPv4(host.attributes.publicIP)]) {
      const other = holders.get(thing);
      if (other !== undefined) return `${name} and ${other} both have ${thing}`;
      holders.set(thing, name);
    }
    for (const [key, entry] of world.data.entries) {
      const isSecond = key !== world.keyOf(lease.subnet) && entry.ttl !== PERMANENT &&
        entry.value === world.valueOf(host);
      if (isSecond) return `${name} has ${lease.subnet}, and keeps ${key} from others for a day`;
    }
  }
  const { reserved } = world.operator;
  for (const subnet of world.subnets) {
    const isPermanent = world.data.entries.get(world.keyOf(subnet))?.ttl === PERMANENT;
    // The reply to a reservation, or to its end, may have been lost.
    const isAsked = reserved.has(`${subnet}`) || world.scenario.reserveFor !== undefined;
    if (isPermanent && !isAsked) return `${subnet} has no end, and nobody has reserved it`;
  }
  return undefined;
}

/** True when the store has the lease that a host believes in. */
function stands(world: World, host: ModelHost): boolean {
  const lease = host.agent!.keeper.lease!;
  return world.data.entries.get(world.keyOf(lease.subnet))?.value === world.valueOf(host);
}
