import type { Lease } from "../../mod/lease/mod.ts";
import { info, warning } from "../../mod/observe/mod.ts";
import {
  Errno,
  type InterfaceAddress,
  type Link,
  type LinkKind,
  type Mac,
  type Netlink,
  SysError,
} from "../../mod/sys/mod.ts";
import { IFA_F_PERMANENT, IFF_UP, RT_SCOPE_UNIVERSE } from "../../mod/sys/linux_constants.ts";

/** A network's own device. */
export interface DeviceSpec<T extends object = object> {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  readonly kind: LinkKind<T>;
  readonly attributes: Partial<T>;
  /** MAC of a device that has to be created; an existing device keeps its own. */
  readonly mac?: Mac | undefined;
  /** Transmit checksum offload; left alone when absent. */
  readonly txChecksum?: boolean | undefined;
  /** Returns why a device of the kind cannot serve; `undefined` when it can. */
  mismatch(actual: T): string | undefined;
}

/**
 * Returns why an existing device cannot serve; `undefined` when it can. MTU and flags can be changed on a
 * living device and are not compared.
 */
export function incompatibility(link: Link, spec: DeviceSpec): string | undefined {
  const attributes = spec.kind.of(link);
  return attributes === undefined
    ? `link type: ${link.kind ?? "physical"} vs ${spec.kind.name}`
    : spec.mismatch(attributes);
}

/**
 * Makes the device ready: an existing one is kept with its MAC when it can serve (packets go on
 * flowing), replaced when not, created when there is none; MTU set and link up in any case.
 *
 * @throws {SysError} when the kernel refuses
 */
export function ensureDevice(netlink: Netlink, spec: DeviceSpec): Link {
  let link = netlink.link(spec.name);
  if (link !== undefined) {
    const reason = incompatibility(link, spec);
    if (reason !== undefined) {
      warning(
        `"${spec.name}" already exists with incompatible configuration: ${reason}; recreating device`,
      );
      netlink.deleteLink(link.index);
      link = undefined;
    }
  }
  if (link === undefined) {
    link = createDevice(netlink, spec);
    const mac = link.mac === undefined ? "" : `, VTEP MAC ${link.mac}`;
    info(`Created device ${spec.name}${mac}`, { device: spec.name });
  }
  disableIPv6(netlink, link);
  if (link.mtu !== spec.mtu || (link.flags & IFF_UP) === 0) {
    netlink.setLink(link.index, { mtu: spec.mtu, up: true });
  }
  setTxChecksum(netlink, spec);
  return { ...link, mtu: spec.mtu, flags: link.flags | IFF_UP };
}

/**
 * Turns IPv6 off on a device of flanneld, before it is up. IPv4 leases are all that peers may send: a router
 * advertisement inside the tunnel would give this host a default route.
 */
export function disableIPv6(netlink: Netlink, link: Pick<Link, "index" | "name">): void {
  try {
    netlink.disableIPv6(link);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const { name } = link;
    warning(
      `IPv6 of ${name} stays on, so that peers can send this host router advertisements: ${error.message}; ` +
        `run sysctl -w net/ipv6/conf/${name}/disable_ipv6=1 on the host`,
    );
  }
}

function createDevice(netlink: Netlink, spec: DeviceSpec): Link {
  try {
    return netlink.createLink(spec);
  } catch (cause) {
    if (!(cause instanceof SysError) || cause.errno !== Errno.EOPNOTSUPP) throw cause;
    const { name, module } = spec.kind;
    throw new SysError(cause.syscall, cause.errno, {
      cause,
      subject: `${spec.name} type ${name}`,
      detail: `the kernel has no module ${module}: install it, or choose another Backend.Type`,
    });
  }
}

/** Packets flow either way, so that a refusal is no error. */
function setTxChecksum(netlink: Netlink, { name, txChecksum: wanted }: DeviceSpec): void {
  if (wanted === undefined) return;
  try {
    if (netlink.transmitChecksumOffload(name) === wanted) return;
    netlink.setTransmitChecksumOffload(name, wanted);
    info(`Turned tx-checksum-ip-generic of ${name} ${wanted ? "on" : "off"}`);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    warning(`tx-checksum-ip-generic of ${name} stays as it is: ${error.message}`);
  }
}

/**
 * As {@linkcode ensureDevice}, for a device that is in use: it gets back the MAC that the peers
 * know, whether it was deleted meanwhile or only altered.
 *
 * @throws {SysError} when the kernel refuses
 */
export function restoreDevice(netlink: Netlink, spec: DeviceSpec, mac: Mac | undefined): Link {
  const link = ensureDevice(netlink, { ...spec, mac });
  if (mac === undefined || link.mac === mac) return link;
  netlink.setLink(link.index, { mac });
  return { ...link, mac };
}

/** Returns the device's own address: the lease's base as /32, so that no connected route overlaps docker0. */
export function deviceAddress(own: Lease, device: number): InterfaceAddress {
  return {
    index: device,
    address: own.subnet.address,
    prefixLength: 32,
    scope: RT_SCOPE_UNIVERSE,
    flags: IFA_F_PERMANENT,
  };
}
