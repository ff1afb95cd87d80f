/**
 * subnet.env, the file with the host's subnet for Docker (through its options), for the CNI plugin `flannel`,
 * and for the agent after a restart.
 *
 * @module
 */

import { formatIPv4, Prefix } from "../ip/mod.ts";
import { warning } from "../observe/log/log.ts";
import { writeFileAtomically } from "./atomic_file.ts";
import { parseDotenv } from "./dotenv.ts";
import { reasonOf } from "./errors.ts";

/** Content of subnet.env. */
export interface SubnetEnv {
  /** The whole network. */
  readonly network: Prefix;
  /** This host's lease. */
  readonly subnet: Prefix;
  /** Largest packet through the network, in bytes. */
  readonly mtu: number;
  /** The agent masquerades, so Docker must not. */
  readonly ipMasq: boolean;
}

/** Network and subnet in the subnet.env of an earlier run. */
export interface PreviousSubnet {
  readonly network?: Prefix;
  readonly subnet?: Prefix;
}

/** Returns the file's variables. FLANNEL_SUBNET has base + 1, the address of Docker's bridge. */
export function subnetVariables(
  { network, subnet, mtu, ipMasq }: SubnetEnv,
): Record<string, string> {
  return {
    FLANNEL_NETWORK: String(network),
    FLANNEL_SUBNET: `${formatIPv4(subnet.address + 1)}/${subnet.length}`,
    FLANNEL_MTU: String(mtu),
    FLANNEL_IPMASQ: String(ipMasq),
  };
}

/** Returns the file's text. */
export function formatSubnetEnv(env: SubnetEnv): string {
  return Object.entries(subnetVariables(env)).map(([name, value]) => `${name}=${value}\n`).join("");
}

/**
 * Writes the file in one step; see {@linkcode writeFileAtomically}.
 *
 * @throws {ExportError} when it cannot be written
 */
export async function writeSubnetEnv(path: string, env: SubnetEnv): Promise<void> {
  await writeFileAtomically(path, formatSubnetEnv(env));
}

/**
 * Reads network and subnet. Never fails: without a readable file the agent acquires a lease like a new host.
 * Logs every reason but a missing file.
 */
export async function readSubnetEnv(path: string): Promise<PreviousSubnet> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      warning(`cannot read the previous subnet from ${path}: ${reasonOf(error)}`, {
        ...{ file: path, error: reasonOf(error) },
      });
    }
    return {};
  }
  const variables = parseDotenv(text);
  const network = onePrefix(path, variables, "FLANNEL_NETWORK");
  const subnet = onePrefix(path, variables, "FLANNEL_SUBNET");
  return {
    ...(network === undefined ? {} : { network }),
    ...(subnet === undefined ? {} : { subnet }),
  };
}

/** Returns the prefix of a comma-separated list that has exactly one; skips members that are not prefixes. */
function onePrefix(
  path: string,
  variables: ReadonlyMap<string, string>,
  name: string,
): Prefix | undefined {
  const value = variables.get(name);
  if (value === undefined || value === "") return undefined;
  const prefixes = value.split(",").map((member) => Prefix.parse(member.trim()))
    .filter((prefix) => prefix !== undefined);
  if (prefixes.length === 1) return prefixes[0];
  warning(`ignoring ${name}=${value} in ${path}: expected one subnet such as 10.20.48.1/24`);
  return undefined;
}
