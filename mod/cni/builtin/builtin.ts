import { gatewayOf, type IPv4, type Prefix } from "../../ip/mod.ts";
import { SysError } from "../../sys/ffi/errno.ts";
import type { PluginCall } from "../call.ts";
import type { Attachment, PluginConfig } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import { readSubnetFile } from "../subnet_file.ts";
import {
  type AddressLease,
  type AddressLeases,
  findLease,
  leaseAddress,
  staleLeases,
  withoutLease,
} from "./address_leases.ts";
import { attach, type AttachmentSpec, checkAttachment, detach, isAttached } from "./attachment.ts";
import { LeaseFile, readLeases } from "./lease_file.ts";
import { hostEndOf } from "./names.ts";
import { type BuiltinOptions, LEASE_DIRECTORY } from "./options.ts";
import { type Attached, encodeResult, routesOf } from "./result.ts";

/** The parts of a network on this host that its containers share. */
export interface HostNetwork {
  readonly options: BuiltinOptions;
  readonly subnet: Prefix;
  readonly networks: readonly Prefix[];
  readonly mtu: number;
}

/** A container to connect. */
export interface AttachRequest extends Attachment {
  /** Path of its network namespace. */
  readonly netns: string;
  /** Addresses that the operator chose. */
  readonly address?: IPv4;
  readonly mac?: string;
}

/** Connects a container for ADD. @returns the result @throws {CniError} */
export async function addBuiltin(
  call: PluginCall,
  config: PluginConfig,
  options: BuiltinOptions,
): Promise<string> {
  return encodeResult(await attachContainer(call, config, options), config.dns, config.cniVersion);
}

/**
 * Connects a container. The lease is written before the kernel is changed, so that whatever a killed call leaves has a
 * lease that DEL and GC find.
 *
 * @throws {CniError}
 */
export async function attachContainer(
  { containerID, ifname, netns, address, mac }: AttachRequest,
  { name, subnetFile }: Pick<PluginConfig, "name" | "subnetFile">,
  options: BuiltinOptions,
): Promise<Attached> {
  const network = readNetwork(subnetFile, options);
  using file = await LeaseFile.open(options.leaseDir, name);
  const attachment = { containerID, ifname };
  const earlier = findLease(file.leases, attachment);
  if (earlier !== undefined) {
    if (isAttached(earlier.hostEnd)) {
      throw new CniError(
        Code.INVALID_ENVIRONMENT,
        `container ${containerID} has ${ifname} already`,
        "delete it first",
      );
    }
    file.save(withoutLease(file.leases, earlier));
  }
  const hostEnd = hostEndOf(name, attachment);
  const leased = leaseFree(file.leases, network.subnet, { ...attachment, hostEnd }, address);
  file.save(leased.leases);
  const { lease } = leased;
  const spec = specOf(network, lease, netns);
  try {
    const macs = attach({ ...spec, mac });
    const { bridge, isDefaultGateway } = options;
    return {
      bridge: { name: bridge, mac: macs.bridge },
      hostEnd: { name: hostEnd, mac: macs.hostEnd },
      container: { name: ifname, mac: macs.container, sandbox: netns },
      ...{ address: lease.address, gateway: spec.bridge.gateway, mtu: network.mtu },
      ...{ prefixLength: network.subnet.length, networks: network.networks, isDefaultGateway },
    };
  } catch (error) {
    file.save(withoutLease(leased.leases, lease));
    throw error instanceof SysError ? new CniError(Code.KERNEL_REFUSED, error.message) : error;
  }
}

/**
 * Disconnects a container. Needs no subnet file, no result and no namespace, and succeeds when it is disconnected.
 *
 * @throws {CniError}
 */
export async function deleteBuiltin(
  attachment: Attachment,
  name: string,
  leaseDir = LEASE_DIRECTORY,
): Promise<void> {
  using file = await LeaseFile.open(leaseDir, name);
  const lease = findLease(file.leases, attachment);
  detach(lease?.hostEnd ?? hostEndOf(name, attachment));
  if (lease !== undefined) file.save(withoutLease(file.leases, lease));
}

/** Compares a container's network with the result of ADD. @throws {CniError} */
export function checkBuiltin(
  call: PluginCall,
  config: PluginConfig,
  options: BuiltinOptions,
): void {
  const lease = findLease(readLeases(options.leaseDir, config.name), call);
  if (lease === undefined) {
    throw new CniError(
      Code.DAMAGED,
      `container ${call.containerID} has no lease for ${call.ifname}`,
      "restart the container",
    );
  }
  const spec = specOf(readNetwork(config.subnetFile, options), lease, call.netns);
  checkAttachment(spec, config.prevResult ?? {});
}

/** Disconnects all containers but those that are listed as valid. @throws {CniError} */
export async function collectBuiltin(
  { name, validAttachments }: PluginConfig,
  { leaseDir }: BuiltinOptions,
): Promise<void> {
  using file = await LeaseFile.open(leaseDir, name);
  for (const lease of staleLeases(file.leases, validAttachments)) {
    detach(lease.hostEnd);
    file.save(withoutLease(file.leases, lease));
  }
}

/** Returns normally when a container can be connected. @throws {CniError} */
export function statusBuiltin(config: PluginConfig, options: BuiltinOptions): void {
  const { subnet } = readNetwork(config.subnetFile, options);
  const probe = { containerID: "", ifname: "", hostEnd: "" };
  leaseFree(readLeases(options.leaseDir, config.name), subnet, probe);
}

/** Reads the host's part of a network. @throws {CniError} 7 or 11 when there is none */
export function readNetwork(subnetFile: string, options: BuiltinOptions): HostNetwork {
  const { ipv4: subnet, ipv4Networks, mtu } = readSubnetFile(subnetFile);
  if (subnet === undefined) {
    throw new CniError(
      Code.INVALID_CONFIG,
      `${subnetFile} has no IPv4 subnet`,
      "a CNI configuration with a delegate does without",
    );
  }
  // A network that is the subnet itself is connected.
  const networks = ipv4Networks.filter((network) => !network.equals(subnet));
  return { options, subnet, networks, mtu: options.mtu ?? mtu };
}

function specOf(network: HostNetwork, lease: AddressLease, netns: string): AttachmentSpec {
  const { options, subnet, networks, mtu } = network;
  const { bridge: name, isDefaultGateway, hairpinMode } = options;
  const gateway = gatewayOf(subnet);
  return {
    ...{ lease, netns, hairpinMode },
    bridge: { name, gateway, prefixLength: subnet.length, mtu, networks },
    routes: routesOf({ networks, isDefaultGateway }),
  };
}

/**
 * Leases an address, see {@linkcode leaseAddress}. Where none is free, ends the leases of containers whose namespaces
 * went without DEL.
 *
 * @throws {CniError} 101 when none is free
 */
function leaseFree(
  all: AddressLeases,
  subnet: Prefix,
  attachment: Omit<AddressLease, "address">,
  chosen?: IPv4,
): NonNullable<ReturnType<typeof leaseAddress>> {
  const lease = (leases: readonly AddressLease[]) =>
    leaseAddress({ ...all, leases }, subnet, attachment, chosen);
  const leased = lease(all.leases) ??
    lease(all.leases.filter(({ hostEnd }) => isAttached(hostEnd)));
  if (leased !== undefined) return leased;
  throw new CniError(Code.NO_ADDRESS, `no free address in ${subnet}`, "stop containers");
}
