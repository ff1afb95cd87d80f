import { VERSION } from "../../version.ts";
import {
  attachContainer,
  deleteBuiltin,
  type HostNetwork,
  readNetwork,
} from "../builtin/builtin.ts";
import { readLeases } from "../builtin/lease_file.ts";
import { type Attachment, parseInput } from "../config.ts";
import { CniError, Code, toCniError } from "../errors.ts";
import { checkNamespace } from "../namespace.ts";
import { readStandardInput, write } from "../standard_streams.ts";
import { encodeStatus, readAttachment, readContainer } from "./container.ts";
import { createNetwork, readOptions } from "./network.ts";

/** Version of netavark's plugin API (plugin-API.md of netavark). */
const API_VERSION = "1.0.0";

/**
 * Name of the file of leases. All of Podman's networks share it, as they share the host's subnet: a container can be on
 * any of them.
 */
const LEASES = "netavark";

/**
 * Runs the plugin as Podman and netavark call it: a command as the first argument, JSON on standard input and standard
 * output.
 *
 * @param args command, and for `setup` and `teardown` the path of the container's namespace
 * @returns the exit code: 0, or 1 with an error object
 */
export async function runNetavarkPlugin(args: readonly string[]): Promise<number> {
  try {
    const answer = await perform(args);
    if (answer !== "") write(Deno.stdout, `${answer}\n`);
    return 0;
  } catch (error) {
    const { message, details } = await toCniError(error);
    const text = details === undefined ? message : `${message}; ${details}`;
    write(Deno.stdout, `${JSON.stringify({ error: text })}\n`);
    return 1;
  }
}

async function perform([command, netns = ""]: readonly string[]): Promise<string> {
  if (command === "info") return JSON.stringify({ version: VERSION, api_version: API_VERSION });
  const input = parseInput(readStandardInput());
  if (command === "create") {
    refuseRootless();
    const { subnetFile, builtin } = readOptions(input);
    return JSON.stringify(createNetwork(input, readNetwork(subnetFile, builtin).subnet));
  }
  if (command === "teardown") {
    await deleteBuiltin(readAttachment(input), LEASES);
    return "";
  }
  const { request, network, ports } = readContainer(input);
  checkNamespace(netns);
  if (ports.length > 0) {
    write(Deno.stderr, `flannel networks publish no ports: ${ports.join(", ")}\n`);
  }
  const { subnetFile, builtin } = readOptions(network);
  refuseSecond(request, readNetwork(subnetFile, builtin));
  return encodeStatus(
    await attachContainer({ ...request, netns }, { name: LEASES, subnetFile }, builtin),
  );
}

/** Two interfaces in one subnet would have the same routes. */
function refuseSecond(
  { containerID, ifname }: Attachment,
  { options, subnet }: HostNetwork,
): void {
  const second = readLeases(options.leaseDir, LEASES).leases.find((lease) =>
    lease.containerID === containerID && lease.ifname !== ifname && subnet.contains(lease.address)
  );
  if (second === undefined) return;
  throw new CniError(
    Code.INVALID_CONFIG,
    `the container has an address of ${subnet} on ${second.ifname} already`,
    "connect it to one flannel network",
  );
}

/** Set by Podman in the user namespace of a user other than root: the user's id (containers/storage, pkg/unshare). */
const ROOTLESS_UID = "_CONTAINERS_ROOTLESS_UID";

/** The containers of a user have a network of their own, which no route of the host leads to. */
function refuseRootless(): void {
  if (!Number(Deno.env.get(ROOTLESS_UID) ?? 0)) return;
  throw new CniError(
    Code.INVALID_ENVIRONMENT,
    "flannel networks are for root's containers",
    "run podman as root",
  );
}
