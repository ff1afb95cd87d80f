import {
  type AssembledProgram,
  Assembler,
  BPF_F_INGRESS,
  type BpfProgram,
  R0,
  R1,
  R10,
  R2,
  R3,
  R4,
  R6,
  R7,
  SkBuff,
  Verdict,
} from "../../../../mod/sys/bpf/mod.ts";
import {
  Errno,
  type Link,
  type Netlink,
  randomMac,
  SysError,
  VXLAN,
} from "../../../../mod/sys/mod.ts";
import { udpDeviceNumber } from "../../device_name.ts";
import type { Hook } from "../hook.ts";
import {
  type GroAddress,
  GroCount,
  GroEntry,
  GroValue,
  type PathSettings,
} from "../programs/layout.ts";
import { count, drop, lookup, sameSecret } from "../programs/snippets.ts";
import { IFF_UP } from "../../../../mod/sys/linux_constants.ts";

/**
 * First UDP port that is tried, and how many are: flannel's 8285 and 20,000. All GRO devices of a host share the port.
 */
const PORT = 28_285;
const PORTS = 10;
/** VNI of flannel0's GRO device; flannel1's is the next number, and so on. */
const VNI = 8285;
/**
 * Bytes, one less than IPV6_MIN_MTU (linux/ipv6.h): the kernel runs no IPv6 on such a device, so it has no
 * link-local address and accepts no router advertisement. The kernel does not apply the MTU to received packets.
 */
const MTU = 1279;

/** Name of a TUN device's GRO device. */
export function groDeviceName(device: string): string {
  return `${device}-gro`;
}

/** Finds the GRO device of a TUN device: a vxlan device of that name and VNI without a remote address. */
export function findGroDevice(netlink: Netlink, device: string): Link | undefined {
  const name = groDeviceName(device);
  const link = netlink.link(name);
  const vxlan = link && VXLAN.of(link);
  // The kernel finds a device by its alternative names too.
  const isGroDevice = link?.name === name && vxlan !== undefined && vxlan.vni === vni(device) &&
    vxlan.local === undefined && vxlan.group === undefined && vxlan.link === 0 && !vxlan.gbp;
  return isGroDevice ? link : undefined;
}

/** Deletes a GRO device and the programs on it, if it exists. */
export function removeGroDevice(netlink: Netlink, device: string): void {
  const link = findGroDevice(netlink, device);
  if (link !== undefined) netlink.deleteLink(link.index);
}

/**
 * Creates the GRO device of a TUN device, or brings up the one that an earlier agent left.
 *
 * @param attach attaches the program at the device's ingress; it runs before the device is up, so that no frame
 * gets past the program
 * @throws {SysError} EOPNOTSUPP in a kernel without vxlan; EEXIST when another device has the name; EADDRINUSE
 * when all ports are in use; any error of `attach`. The device is deleted then
 */
export function ensureGroDevice(
  netlink: Netlink,
  device: string,
  attach: (index: number) => void = () => {},
): Link {
  const link = findGroDevice(netlink, device);
  if (link !== undefined) {
    if (link.mtu === MTU && bringUp(netlink, link, attach)) return link;
    netlink.deleteLink(link.index);
  }
  for (let port = PORT; port < PORT + PORTS; port++) {
    const link = netlink.createLink({
      ...{ name: groDeviceName(device), mtu: MTU, mac: randomMac() },
      kind: VXLAN,
      attributes: { vni: vni(device), port },
    });
    if (bringUp(netlink, link, attach)) return link;
    netlink.deleteLink(link.index);
  }
  throw new SysError("vxlan", Errno.EADDRINUSE, {
    subject: `ports ${PORT} to ${PORT + PORTS - 1}`,
  });
}

/** @returns false when another socket has the port */
function bringUp(
  netlink: Netlink,
  { index, flags }: Link,
  attach: (index: number) => void,
): boolean {
  try {
    attach(index);
    if ((flags & IFF_UP) === 0) netlink.setLink(index, { up: true });
    return true;
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.EADDRINUSE) return false;
    netlink.deleteLink(index);
    throw error;
  }
}

function vni(device: string): number {
  return VNI + (udpDeviceNumber(device) ?? 0);
}

/** VNI, MAC and UDP port of a GRO device: the destination of packets on the GRO path. */
export type GroDeviceAddress = Omit<GroAddress, "secret">;

/**
 * The GRO device: a vxlan device that receives no packets from outside. Packets for containers pass through it,
 * and leave it as the kernel's own tunnels deliver them.
 *
 * A packet that the decapsulation program redirects to flannel0 stays marked as tunnelled (`skb->encapsulation`),
 * and no helper clears the mark. The bridge to the containers segments such GSO packets in software, and the
 * redirect merges no segments. The GRO device clears the mark of a packet with a VXLAN header
 * (`iptunnel_pull_offloads()`) and passes it through its `gro_cells`. That costs 50 ns to 1 us a packet, which
 * only pays for TCP, whose packets are large: in the lab 4.8 Gbit/s between containers became 13.5, and 3.2 became
 * 4.9 on a wire that segments.
 *
 * The source MAC address of genuine frames is a secret. The device's program drops all other frames.
 */
export class GroDevice implements Disposable {
  readonly name: string;
  readonly #netlink: Netlink;
  readonly #hook: Hook;
  readonly #device: string;
  #ensured: (GroDeviceAddress & { readonly index: number }) | undefined;

  /**
   * @param device name of the TUN device that packets are redirected to
   * @param hook for the ingress of the GRO device
   */
  constructor(netlink: Netlink, device: string, hook: Hook) {
    this.name = groDeviceName(device);
    this.#netlink = netlink;
    this.#hook = hook;
    this.#device = device;
  }

  /**
   * Creates the device, or adopts the one that an earlier agent left.
   *
   * @param program of {@linkcode groArrival}
   * @throws {SysError} as {@linkcode ensureGroDevice}
   */
  ensure(program: BpfProgram): GroDeviceAddress {
    this.#ensured = undefined;
    const link = ensureGroDevice(
      this.#netlink,
      this.#device,
      (index) => this.#hook.ensure(program, index),
    );
    this.#ensured = {
      index: link.index,
      vni: vni(this.#device),
      mac: link.mac!,
      port: VXLAN.of(link)!.port,
    };
    return this.#ensured;
  }

  /** Describes how the device differs from the state that {@linkcode GroDevice.ensure} left; else `undefined`. */
  damage(): string | undefined {
    if (this.#ensured === undefined) return undefined;
    const { index, mac, port } = this.#ensured;
    const link = this.#netlink.link(this.name);
    if (link?.index !== index) return `device ${this.name} deleted`;
    if ((link.flags & IFF_UP) === 0) return `device ${this.name} down`;
    if (link.mac !== mac || link.mtu !== MTU || VXLAN.of(link)?.port !== port) {
      return `device ${this.name} altered`;
    }
    return this.#hook.damage();
  }

  /** Deletes the device and the programs on it. */
  remove(): void {
    this.#ensured = undefined;
    this.#hook.remove();
    removeGroDevice(this.#netlink, this.#device);
  }

  [Symbol.dispose](): void {
    this.#hook[Symbol.dispose]();
  }
}

/** Stack offset below R10 of the map's key. */
const KEY = -4;
/** Offset in the frame of the headers in the map's value: the device has removed the VXLAN header. */
const HEADERS = -8;
/** Ethernet header (linux/if_ether.h) and the shortest IPv4 header (RFC 791), in bytes. */
const FRAME = 34;
/** Offsets of the inner addresses in the frame, in bytes. */
const Inner = { Source: 26, Destination: 30 } as const;

/**
 * Assembles the program at the GRO device's ingress. It redirects packets to flannel0 that carry the present or
 * the former secret and go from another host's part of the network to this host's lease. The decapsulation
 * program passes no other packets, so others come from a sender that learned the secret. The program counts
 * probes, and drops probes and all other frames.
 */
export function groArrival(
  { device, own, network }: Pick<PathSettings, "device" | "own" | "network">,
): AssembledProgram {
  const a = new Assembler().mov(R6, R1)
    .load(R7, R6, SkBuff.data, 4)
    .load(R3, R6, SkBuff.data_end, 4)
    .mov(R4, R7).alu(R4, "add", FRAME).jumpIf(R4, ">", R3, "drop");
  const entries = [[GroEntry.Packets, "former"], [GroEntry.Former, "probe"], [
    GroEntry.Probes,
    "drop",
  ]] as const;
  for (const [key, otherwise] of entries) {
    if (key === GroEntry.Former) a.label("former");
    if (key === GroEntry.Probes) a.label("probe");
    a.store(R10, KEY, key, 4)
      .include(lookup("gro", KEY)).jumpIf(R0, "==", 0, "drop")
      .load(R1, R0, GroValue.Port, 2).jumpIf(R1, "==", 0, otherwise)
      .include(sameSecret(R7, HEADERS, R0, otherwise));
    if (key === GroEntry.Packets) a.jump("genuine");
    if (key === GroEntry.Probes) {
      a.include(count("groCounts", GroCount.probesReceived)).jump("drop");
    }
    if (key !== GroEntry.Former) continue;
    a.label("genuine")
      .load(R1, R7, Inner.Destination, 4).swap(R1, 32).alu32(R1, "and", own.mask)
      .jumpIf32(R1, "!=", own.address, "dropReceiveForeign")
      .load(R1, R7, Inner.Source, 4).swap(R1, 32)
      .mov(R2, R1).alu32(R2, "and", own.mask).jumpIf32(R2, "==", own.address, "dropReceiveSpoofed")
      .alu32(R1, "and", network.mask).jumpIf32(R1, "!=", network.address, "dropReceiveSpoofed")
      .include(count("groCounts", GroCount.groReceived))
      .mov(R1, device).mov(R2, BPF_F_INGRESS).call("redirect").exit();
  }
  return a.include(drop("dropReceiveForeign")).include(drop("dropReceiveSpoofed"))
    .label("drop").mov(R0, Verdict.TC_ACT_SHOT).exit().assemble();
}
