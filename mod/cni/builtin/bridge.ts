import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import { IFF_UP } from "../../sys/linux_constants.ts";
import type { Netlink } from "../../sys/netlink/connection.ts";
import { BRIDGE } from "../../sys/netlink/objects/bridge.ts";
import type { Link, Operation } from "../../sys/netlink/wire/types.ts";
import { CniError, Code } from "../errors.ts";
import { macOf } from "./names.ts";

/** The bridge of a network, as it should be. */
export interface BridgeSpec {
  readonly name: string;
  readonly gateway: IPv4;
  readonly prefixLength: number;
  readonly mtu: number;
  /** All of the network: an address in it that is not the gateway's is of an earlier lease. */
  readonly networks: readonly Prefix[];
}

/**
 * Creates the bridge, or gives an existing one the gateway's address.
 *
 * @returns the bridge, and whether this call created it
 * @throws {CniError} 7 when another device has the name
 * @throws {SysError}
 */
export function ensureBridge(
  netlink: Netlink,
  spec: BridgeSpec,
): { readonly bridge: Link; readonly isNew: boolean } {
  const found = netlink.link(spec.name);
  if (found !== undefined && found.kind !== BRIDGE.name) {
    throw new CniError(
      Code.INVALID_CONFIG,
      `${spec.name} is not a bridge`,
      "remove the device, or set builtin.bridge to another name in a CNI configuration",
    );
  }
  // A bridge without an address of its own takes that of a port, and changes it with its ports.
  const mac = macOf(spec.gateway);
  const { name, mtu } = spec;
  const bridge = found ?? netlink.createLink({ name, mtu, mac, kind: BRIDGE, attributes: {} });
  try {
    netlink.disableIPv6(bridge);
    if ((bridge.flags & IFF_UP) === 0) netlink.setLink(bridge.index, { up: true });
    setGateway(netlink, bridge.index, spec);
  } catch (error) {
    if (found === undefined) netlink.deleteLink(bridge.index);
    throw error;
  }
  return { bridge, isNew: found === undefined };
}

function setGateway(netlink: Netlink, index: number, spec: BridgeSpec): void {
  const { gateway, prefixLength, networks } = spec;
  const addresses = netlink.addresses({ index });
  const operations: Operation[] = addresses
    .filter(({ address }) => address !== gateway && networks.some((net) => net.contains(address)))
    .map((object) => ({ op: "delete", kind: "address", object }));
  const isSet = addresses.some(({ address, prefixLength: length }) =>
    address === gateway && length === prefixLength
  );
  if (!isSet) {
    const object = { index, address: gateway, prefixLength, scope: 0, flags: 0 };
    operations.push({ op: "replace", kind: "address", object });
  }
  if (operations.length > 0) executeAll(netlink, operations);
}

/** Carries all operations out. @throws {CniError} 102 when the kernel refuses one */
export function executeAll(netlink: Netlink, operations: readonly Operation[]): void {
  const [failure] = netlink.execute(operations).failures;
  if (failure !== undefined) throw new CniError(Code.KERNEL_REFUSED, failure.error.message);
}

/** Throws for a bridge that does not forward the containers' packets. @throws {CniError} 100 */
export function checkBridge(netlink: Netlink, spec: BridgeSpec): Link {
  const bridge = netlink.link(spec.name);
  if (bridge === undefined || bridge.kind !== BRIDGE.name) {
    throw damaged(`there is no bridge ${spec.name}`);
  }
  if ((bridge.flags & IFF_UP) === 0) throw damaged(`bridge ${spec.name} is down`);
  const addresses = netlink.addresses({ index: bridge.index });
  if (!addresses.some(({ address }) => address === spec.gateway)) {
    throw damaged(`bridge ${spec.name} does not have the address ${formatIPv4(spec.gateway)}`);
  }
  return bridge;
}

/** The error of CHECK. */
export function damaged(message: string): CniError {
  return new CniError(Code.DAMAGED, message, "restart the container");
}
