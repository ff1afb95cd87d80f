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
import { Hop, type HopAddress, HopEntry, Passage, type PathSettings } from "../programs/layout.ts";
import { count, drop, lookup, sameSecret } from "../programs/snippets.ts";
import { IFF_UP } from "../../../../mod/sys/linux_constants.ts";

/** The first port that is tried, and how many: flannel's 8285 and 20,000. All hops of a host share it. */
const PORT = 28_285;
const PORTS = 10;
/** VNI of flannel0's hop; the other devices' follow. */
const VNI = 8285;
/**
 * Bytes, one less than IPV6_MIN_MTU (linux/ipv6.h): the kernel runs no IPv6 on such a device, so it has no
 * link-local address and accepts no router advertisement. Received packets are not compared with it.
 */
const MTU = 1279;

/** Name of a device's hop. */
export function hopName(device: string): string {
  return `${device}-gro`;
}

/** The vxlan device that only a device's hop can be: it has a name of ours and nowhere to send to. */
export function findHop(netlink: Netlink, device: string): Link | undefined {
  const name = hopName(device);
  const link = netlink.link(name);
  const vxlan = link && VXLAN.of(link);
  // The kernel finds a device by its other names too.
  const isHop = link?.name === name && vxlan !== undefined && vxlan.vni === vni(device) &&
    vxlan.local === undefined && vxlan.group === undefined && vxlan.link === 0 && !vxlan.gbp;
  return isHop ? link : undefined;
}

/** Deletes a device's hop, and what is on it; what is gone already is fine. */
export function removeHop(netlink: Netlink, device: string): void {
  const link = findHop(netlink, device);
  if (link !== undefined) netlink.deleteLink(link.index);
}

/**
 * Creates the GRO device of a TUN device, or brings up the one that an earlier agent left.
 *
 * @param attach attaches the program at the device's ingress; it runs before the device is up, so that no frame
 * gets past the program
 * @throws {SysError} EOPNOTSUPP in a kernel without vxlan; EEXIST when the name is another's; EADDRINUSE
 * when all ports are taken; whatever `attach` throws. The device is deleted then
 */
export function ensureHop(
  netlink: Netlink,
  device: string,
  attach: (index: number) => void = () => {},
): Link {
  const link = findHop(netlink, device);
  if (link !== undefined) {
    if (link.mtu === MTU && bringUp(netlink, link, attach)) return link;
    netlink.deleteLink(link.index);
  }
  for (let port = PORT; port < PORT + PORTS; port++) {
    const link = netlink.createLink({
      ...{ name: hopName(device), mtu: MTU, mac: randomMac() },
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

/** @returns false when another has the port */
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

/** Where a hop's packets are to be sent, but for the secret. */
export type Place = Omit<HopAddress, "secret">;

/**
 * A vxlan device that nobody sends to from outside: by way of it packets for containers come in as the
 * kernel's own tunnels leave them.
 *
 * What the decapsulation program gives to flannel0 itself stays marked as tunnelled (`skb->encapsulation`),
 * which no helper takes back, and the bridge to the containers cuts such super-packets in software; and of what came in
 * segments none are joined. Dressed as vxlan, a packet has its mark taken off by the device
 * (`iptunnel_pull_offloads()`) and runs through its `gro_cells`. It costs 50 ns to 1 us a packet, which a super-packet
 * is worth and TCP alone makes: in the lab 4.8 Gbit/s between containers became 13.5, and 3.2 became 4.9 on a
 * wire that cuts.
 *
 * Packets that others send to its port lack the secret that is the source address of ours, and are dropped.
 */
export class GroHop implements Disposable {
  readonly name: string;
  readonly #netlink: Netlink;
  readonly #hook: Hook;
  readonly #device: string;
  #made: (Place & { readonly index: number }) | undefined;

  /**
   * @param device name of the TUN device that packets are to come in by at last
   * @param hook for the ingress of the hop
   */
  constructor(netlink: Netlink, device: string, hook: Hook) {
    this.name = hopName(device);
    this.#netlink = netlink;
    this.#hook = hook;
    this.#device = device;
  }

  /**
   * Makes the device, or takes over what an earlier agent left.
   *
   * @param program of {@linkcode hopArrival}
   * @throws {SysError} as {@linkcode ensureHop}
   */
  ensure(program: BpfProgram): Place {
    this.#made = undefined;
    const link = ensureHop(
      this.#netlink,
      this.#device,
      (index) => this.#hook.ensure(program, index),
    );
    this.#made = {
      index: link.index,
      vni: vni(this.#device),
      mac: link.mac!,
      port: VXLAN.of(link)!.port,
    };
    return this.#made;
  }

  /** What is not as {@linkcode GroHop.ensure} left it; `undefined` when all is well. */
  damage(): string | undefined {
    if (this.#made === undefined) return undefined;
    const { index, mac, port } = this.#made;
    const link = this.#netlink.link(this.name);
    if (link?.index !== index) return `device ${this.name} deleted`;
    if ((link.flags & IFF_UP) === 0) return `device ${this.name} down`;
    if (link.mac !== mac || link.mtu !== MTU || VXLAN.of(link)?.port !== port) {
      return `device ${this.name} altered`;
    }
    return this.#hook.damage();
  }

  /** Deletes the device, and what is on it. */
  remove(): void {
    this.#made = undefined;
    this.#hook.remove();
    removeHop(this.#netlink, this.#device);
  }

  [Symbol.dispose](): void {
    this.#hook[Symbol.dispose]();
  }
}

/** Key of the map, on the stack below R10. */
const FIRST = -4;
/** Where a frame's headers would begin if the VXLAN header were there yet, which the device has taken off. */
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
export function hopArrival(
  { device, own, network }: Pick<PathSettings, "device" | "own" | "network">,
): AssembledProgram {
  const a = new Assembler().mov(R6, R1)
    .load(R7, R6, SkBuff.data, 4)
    .load(R3, R6, SkBuff.data_end, 4)
    .mov(R4, R7).alu(R4, "add", FRAME).jumpIf(R4, ">", R3, "drop");
  const entries = [[HopEntry.Packets, "former"], [HopEntry.Former, "probe"], [
    HopEntry.Probes,
    "drop",
  ]] as const;
  for (const [key, otherwise] of entries) {
    if (key === HopEntry.Former) a.label("former");
    if (key === HopEntry.Probes) a.label("probe");
    a.store(R10, FIRST, key, 4)
      .include(lookup("hop", FIRST)).jumpIf(R0, "==", 0, "drop")
      .load(R1, R0, Hop.Port, 2).jumpIf(R1, "==", 0, otherwise)
      .include(sameSecret(R7, HEADERS, R0, otherwise));
    if (key === HopEntry.Packets) a.jump("genuine");
    if (key === HopEntry.Probes) a.include(count("passages", Passage.probed)).jump("drop");
    if (key !== HopEntry.Former) continue;
    a.label("genuine")
      .load(R1, R7, Inner.Destination, 4).swap(R1, 32).alu32(R1, "and", own.mask)
      .jumpIf32(R1, "!=", own.address, "dropReceiveForeign")
      .load(R1, R7, Inner.Source, 4).swap(R1, 32)
      .mov(R2, R1).alu32(R2, "and", own.mask).jumpIf32(R2, "==", own.address, "dropReceiveSpoofed")
      .alu32(R1, "and", network.mask).jumpIf32(R1, "!=", network.address, "dropReceiveSpoofed")
      .include(count("passages", Passage.arrived))
      .mov(R1, device).mov(R2, BPF_F_INGRESS).call("redirect").exit();
  }
  return a.include(drop("dropReceiveForeign")).include(drop("dropReceiveSpoofed"))
    .label("drop").mov(R0, Verdict.TC_ACT_SHOT).exit().assemble();
}
