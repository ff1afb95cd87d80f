import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import { info, warning } from "../../mod/observe/mod.ts";
import {
  type Link,
  type Mac,
  type Netlink,
  randomMac,
  SysError,
  VXLAN,
  type VxlanAttributes,
} from "../../mod/sys/mod.ts";
import { IFF_UP } from "../../mod/sys/linux_constants.ts";

/** What the device is to be. */
export interface DeviceSpec {
  readonly name: string;
  readonly mtu: number;
  readonly vxlan: Omit<VxlanAttributes, "group" | "l2miss" | "l3miss"> & { readonly local: IPv4 };
  /** Wanted MAC for a device that has to be made; random when absent. */
  readonly mac?: Mac | undefined;
  /** Wanted transmit checksum offload; left alone when absent. */
  readonly txChecksum?: boolean | undefined;
}

/**
 * Why an existing device cannot serve; `undefined` when it can. MTU and flags can be changed on a
 * living device and are not looked at.
 */
export function incompatibility(link: Link, spec: DeviceSpec): string | undefined {
  const is = VXLAN.of(link);
  const want = spec.vxlan;
  if (is === undefined) return `link type: ${link.kind ?? "physical"} vs vxlan`;
  if (is.vni !== want.vni) return `vni: ${is.vni} vs ${want.vni}`;
  if (is.link !== want.link) return `external interface: ${is.link} vs ${want.link}`;
  if (is.local !== want.local) {
    return `vtep (external) IP: ${is.local === undefined ? "none" : formatIPv4(is.local)} vs ` +
      formatIPv4(want.local);
  }
  if (is.group !== undefined) return `group: ${formatIPv4(is.group)} vs none`;
  if (is.l2miss) return "l2miss: on vs off";
  if (is.l3miss) return "l3miss: on vs off";
  if (is.port !== want.port) return `port: ${is.port} vs ${want.port}`;
  if (is.gbp !== want.gbp) return `gbp: ${is.gbp} vs ${want.gbp}`;
  if (is.learning !== want.learning) return `learning: ${is.learning} vs ${want.learning}`;
  return undefined;
}

/**
 * Makes the device ready: an existing one is kept with its MAC when it can serve (packets go on
 * flowing), replaced when not, made when there is none; MTU set and link up in any case.
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
    link = netlink.createLink({
      ...{ name: spec.name, mtu: spec.mtu, mac: spec.mac ?? randomMac() },
      ...{ kind: VXLAN, attributes: spec.vxlan },
    });
    info(`Created device ${spec.name}, VTEP MAC ${link.mac}`, { device: spec.name });
  }
  if (link.mtu !== spec.mtu || (link.flags & IFF_UP) === 0) {
    netlink.setLink(link.index, { mtu: spec.mtu, up: true });
  }
  setTxChecksum(netlink, spec);
  return { ...link, mtu: spec.mtu, flags: link.flags | IFF_UP };
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
export function restoreDevice(netlink: Netlink, spec: DeviceSpec & { readonly mac: Mac }): Link {
  const link = ensureDevice(netlink, spec);
  if (link.mac === spec.mac) return link;
  netlink.setLink(link.index, { mac: spec.mac });
  return { ...link, mac: spec.mac };
}
