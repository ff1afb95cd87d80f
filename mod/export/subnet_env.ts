/**
 * subnet.env, the file by which Docker (through its options) and the CNI plugin `flannel` learn
 * the host's subnet, and from which the agent learns it again after a restart.
 *
 * @module
 */

import { formatIPv4, Prefix } from "../ip/mod.ts";
import { warning } from "../observe/log/log.ts";
import { writeFileAtomically } from "./atomic_file.ts";
import { parseDotenv } from "./dotenv.ts";
import { reasonOf } from "./errors.ts";

/** What subnet.env says. */
export interface SubnetEnv {
  /** The whole network. */
  readonly network: Prefix;
  /** This host's lease. */
  readonly subnet: Prefix;
  /** Bytes that fit in one packet through the network. */
  readonly mtu: number;
  /** The agent masquerades, so Docker must not. */
  readonly ipMasq: boolean;
}

/** What an earlier run left. */
export interface PreviousSubnet {
  readonly network?: Prefix;
  readonly subnet?: Prefix;
}

/** The file's variables. Docker's bridge is given the lease's first address, hence base + 1. */
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

/** The file's text. */
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
 * Reads network and subnet back. Nothing here is an error: without the file, or with one that
 * cannot be read, the agent leases a subnet as on its first day. All but a missing file is logged.
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

/** The one prefix in a comma-separated list, members that are none skipped. */
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
