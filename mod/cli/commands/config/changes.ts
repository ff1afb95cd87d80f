/**
 * A change of the network config and its consequences for the hosts, shown to the operator before the write.
 *
 * @module
 */

import type { CheckedConfig } from "../../../../backends/check_config.ts";
import { HIDDEN, hideSecrets, isSecretKey } from "../../../config/mod.ts";
import { formatIPv4 } from "../../../ip/mod.ts";
import { type Lease, PERMANENT } from "../../../lease/mod.ts";
import type { Snapshot } from "../../../store/mod.ts";
import { isCompatible } from "../../../subnet/pick.ts";
import { counted } from "../../../text/mod.ts";

/** Hosts to list; the rest is counted. */
const LISTED = 10;

/**
 * Lists the keys that a change removes (`-`) and adds (`+`), a line each, without values of secrets.
 *
 * @param before text of the stored config, which may not be JSON
 */
export function configDiff(before: string | undefined, after: string): string[] {
  const [old, next] = [flatten(before ?? "{}"), flatten(after)];
  const lines = [...new Set([...old?.keys() ?? [], ...next?.keys() ?? []])].flatMap((key) => {
    const [was, is] = [old?.get(key), next?.get(key)];
    if (was?.value === is?.value) return [];
    return [...was ? [`- ${show(was)}`] : [], ...is ? [`+ ${show(is)}`] : []];
  });
  if (old === undefined) return ["- a text that is not JSON", ...lines];
  return lines.length > 0 || before === undefined
    ? lines
    : ["  the same keys and values, written otherwise"];
}

interface Member {
  /** Path with the spelling of the text. */
  readonly path: string;
  /** As JSON. */
  readonly value: string;
}

/** Members by their case-folded paths, as Go compares keys; `undefined` for a text that is not a JSON object. */
function flatten(text: string): Map<string, Member> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const members = new Map<string, Member>();
  const add = (object: object, prefix: string) => {
    for (const [key, value] of Object.entries(object)) {
      const path = prefix + key;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) {
        add(value, `${path}.`);
      } else {
        members.set(path.toLowerCase(), { path, value: JSON.stringify(value) });
      }
    }
  };
  add(value, "");
  return members;
}

function show({ path, value }: Member): string {
  return `${path}: ${isSecretKey(path) ? HIDDEN : hideSecrets(value)}`;
}

/**
 * Lists what the hosts with leases will do after the write, one line each.
 *
 * @param before `undefined` without a usable config
 */
export function describeConsequences(
  before: CheckedConfig | undefined,
  after: CheckedConfig,
  { leases, agents }: Pick<Snapshot, "leases" | "agents">,
): string[] {
  if (leases.length === 0) return ["No host holds a lease, so no host changes."];
  const misfits = leases.filter(({ subnet }) => !isCompatible(after.config, subnet));
  const lines = misfits.length === 0
    ? [
      leases.length === 1
        ? "The only lease fits; its host keeps the subnet."
        : `All ${leases.length} leases fit; the hosts keep their subnets.`,
    ]
    : [
      `${misfits.length} of ${
        counted(leases.length, "lease")
      } do not fit. Each host takes another subnet at ` +
      "once; then restart Docker there:",
      ...listHosts(misfits, agents),
    ];
  const room = roomOf(after);
  if (room < leases.length) {
    lines.push(
      `The config has room for ${
        counted(room, "host")
      } and ${leases.length} hold leases: the others will ` +
        "have no subnet.",
    );
  }
  if (before !== undefined) lines.push(...backendConsequences(before, after, leases, agents));
  return lines;
}

/**
 * Returns a line on what the hosts with leases will do after the deletion; their list follows.
 *
 * @param leases at least one
 * @param isNamed the config is of one of several networks
 */
export function describeDeletion(leases: number, isNamed: boolean): string {
  return isNamed
    ? `Hosts with a lease (${leases}): those with -watch-networks remove the network's device, routes ` +
      "and firewall rules at once, and its packets stop; the others keep them, and their packets " +
      "flow; none can start without a config:"
    : `Hosts with a lease (${leases}) keep it, and their packets flow; none can start without a ` +
      "config, and none switches to another:";
}

function backendConsequences(
  before: CheckedConfig,
  after: CheckedConfig,
  leases: readonly Lease[],
  agents: Snapshot["agents"],
): string[] {
  const lines: string[] = [];
  const [was, is] = [before.config.backend.type, after.config.backend.type];
  const changed = configDiff(before.config.text, after.config.text)
    .some((line) => /^. backend\./i.test(line));
  if (was !== is) lines.push(`The backend changes from ${was} to ${is}.`);
  else if (changed) lines.push(`Options of the backend ${is} change.`);
  if (was !== is || changed) {
    lines.push(
      "Agents of flanneld switch by themselves; packets between a host that has switched and one that " +
        "has not wait.",
    );
  }
  const foreign = leases.filter(({ attributes: { publicIP } }) =>
    !agents.some((agent) => agent.publicIP === publicIP)
  );
  if (foreign.length > 0) {
    lines.push(
      `${
        counted(foreign.length, "host")
      } without a node record: upstream flannel, which reads a new config ` +
        "when it is restarted:",
      ...listHosts(foreign, agents),
    );
  }
  if (before.mtu !== undefined && after.mtu !== undefined && before.mtu !== after.mtu) {
    lines.push(
      `MTU for containers: ${after.mtu} in place of ${before.mtu} where the interface has 1500; ` +
        "restart Docker on every host.",
    );
  }
  return lines;
}

/** Lists hosts, one line each: subnet, name and public IP. */
export function listHosts(leases: readonly Lease[], agents: Snapshot["agents"]): string[] {
  const names = new Map(agents.map(({ publicIP, record }) => [publicIP, record.hostname]));
  const lines = leases.toSorted((a, b) => a.subnet.address - b.subnet.address)
    .slice(0, LISTED)
    .map(({ subnet, attributes: { publicIP }, ttl }) => {
      const name = names.get(publicIP);
      const address = formatIPv4(publicIP);
      const host = name === undefined ? address : `${name} (${address})`;
      return `  ${subnet} ${host}${ttl === PERMANENT ? ", a reservation" : ""}`;
    });
  const more = leases.length - LISTED;
  return more > 0 ? [...lines, `  and ${more} more`] : lines;
}

/** Returns how many hosts can have a subnet. */
export function roomOf({ config }: Pick<CheckedConfig, "config">): number {
  return (config.subnetMax - config.subnetMin) / 2 ** (32 - config.subnetLen) + 1;
}
