import {
  type BpfProgram,
  type Direction,
  openPin,
  pin,
  removePin,
  TcxLink,
} from "../../../mod/sys/bpf/mod.ts";
import type { AttachedFilter, Netlink } from "../../../mod/sys/mod.ts";
import { udpDeviceNumber } from "../device_name.ts";

/** A place on an interface where one of the path's programs runs, and goes on to when the agent ends. */
export interface Hook extends Disposable {
  /**
   * Makes a program run on an interface: in place of the one that is there, without a packet in
   * between that meets none, and on no other interface.
   *
   * @throws {SysError} when the kernel refuses
   */
  ensure(program: BpfProgram, index: number): void;
  /** What is not as {@linkcode Hook.ensure} left it; `undefined` when all is well. */
  damage(): string | undefined;
  /** Takes the program off, also one that an earlier agent left. */
  remove(): void;
}

/** A program where it runs. */
interface Attached {
  /** Of the interface. */
  readonly index: number;
  readonly programId: number;
}

/** A TCX link, kept by a pin. */
export class TcxHook implements Hook {
  readonly #path: string;
  readonly #direction: Direction;
  #link: TcxLink | undefined;
  #attached: Attached | undefined;

  /** @param path of the pin */
  constructor(path: string, direction: Direction) {
    this.#path = path;
    this.#direction = direction;
  }

  ensure(program: BpfProgram, index: number): void {
    this.#attached = undefined;
    const link = this.#held();
    if (link?.isAt(index, this.#direction)) {
      link.update(program);
      if (!this.#isPinned()) pin(link.fd, this.#path);
    } else {
      // Behind the pin of the old link stands nothing any more, or another interface.
      const fresh = TcxLink.attach(program, index, this.#direction);
      this.#replace(fresh);
      pin(fresh.fd, this.#path);
    }
    this.#attached = { index, programId: program.id };
  }

  damage(): string | undefined {
    if (this.#attached === undefined || this.#link === undefined) return undefined;
    const { index, programId } = this.#attached;
    const what = `${this.#direction} program of interface ${index}`;
    if (!this.#link.isAt(index, this.#direction)) return `${what} detached`;
    if (this.#link.programId !== programId) return `${what} replaced`;
    return this.#isPinned() ? undefined : `${what} unpinned`;
  }

  /** What this or an earlier agent has left here. */
  present(): Attached | undefined {
    const link = this.#held();
    return link && link.index !== 0 ? { index: link.index, programId: link.programId } : undefined;
  }

  remove(): void {
    const link = this.#held();
    this.#attached = undefined;
    // First what carries packets: a pin can stay where its file system is read-only by now.
    link?.detach();
    this.#replace(undefined);
    removePin(this.#path);
  }

  [Symbol.dispose](): void {
    this.#attached = undefined;
    this.#replace(undefined);
  }

  /** The link that this or an earlier process made. */
  #held(): TcxLink | undefined {
    if (this.#link === undefined) {
      const fd = openPin(this.#path);
      if (fd !== undefined) this.#link = new TcxLink(fd);
    }
    return this.#link;
  }

  #isPinned(): boolean {
    const fd = openPin(this.#path);
    if (fd === undefined) return false;
    using _link = new TcxLink(fd);
    return true;
  }

  #replace(link: TcxLink | undefined): void {
    this.#link?.[Symbol.dispose]();
    this.#link = link;
  }
}

/** In the name of a filter whose discipline was made for it, for the next agent to know. */
const MADE = "+clsact";

/** That of flannel0's filters; flannel's udp port, which nobody else will have chosen. */
const FIRST_PRIORITY = 8285;

/** A clsact filter, which needs no pin: for kernels before TCX (Linux 6.6). */
export class ClsactHook implements Hook {
  readonly #netlink: Netlink;
  readonly #direction: Direction;
  readonly #name: string;
  /** By it our filter is told from others', and found by the next agent. */
  readonly #priority: number;
  /** Where an earlier agent may have left one. */
  readonly #interfaces: readonly string[];
  #attached: Attached | undefined;

  /** The place of the encapsulation program, with the interfaces that it may be on already. */
  static encapsulate(
    netlink: Netlink,
    interfaces: readonly string[],
    device: string,
  ): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_out", "egress", interfaces, device);
  }

  /** Likewise of the decapsulation program. */
  static decapsulate(
    netlink: Netlink,
    interfaces: readonly string[],
    device: string,
  ): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_in", "ingress", interfaces, device);
  }

  /** Likewise of the program at the hop's ingress. */
  static hop(netlink: Netlink, interfaces: readonly string[], device: string): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_hop", "ingress", interfaces, device);
  }

  private constructor(
    netlink: Netlink,
    name: string,
    direction: Direction,
    interfaces: readonly string[],
    device: string,
  ) {
    this.#netlink = netlink;
    this.#name = name;
    this.#direction = direction;
    this.#interfaces = interfaces;
    // At the external interface one filter follows the other, one for each device.
    this.#priority = FIRST_PRIORITY + (udpDeviceNumber(device) ?? 0);
  }

  ensure(program: BpfProgram, index: number): void {
    const former = this.#attached?.index;
    this.#attached = undefined;
    const isMade = this.#netlink.makeClsact(index) || this.#isMade(this.#find(index));
    const name = isMade ? this.#name + MADE : this.#name;
    this.#netlink.setFilter({ ...this.#place(index), name, fd: program.fd });
    this.#attached = { index, programId: program.id };
    if (former === index) return;
    // Of this agent, or an earlier one that had another interface.
    for (const other of this.#present()) if (other !== index) this.#takeOff(other);
    if (former !== undefined) this.#takeOff(former);
  }

  damage(): string | undefined {
    if (this.#attached === undefined) return undefined;
    const { index, programId } = this.#attached;
    const found = this.#netlink.filters(index, this.#direction).find(({ priority }) =>
      priority === this.#priority
    );
    const what = `${this.#direction} program of interface ${index}`;
    if (found === undefined) return `${what} detached`;
    return found.programId === programId ? undefined : `${what} replaced`;
  }

  /** What this or an earlier agent has left, the first that is found. */
  present(): Attached | undefined {
    for (const index of this.#present()) {
      const filter = this.#find(index);
      if (filter !== undefined) return { index, programId: filter.programId };
    }
    return undefined;
  }

  remove(): void {
    const indices = this.#present();
    if (this.#attached !== undefined) indices.add(this.#attached.index);
    this.#attached = undefined;
    for (const index of indices) this.#takeOff(index);
  }

  [Symbol.dispose](): void {}

  /** The interfaces that have a filter of ours, by index. */
  #present(): Set<number> {
    const indices = this.#interfaces.map((name) => this.#netlink.link(name)?.index);
    return new Set(
      indices.filter((index) => index !== undefined && this.#find(index) !== undefined),
    ) as Set<number>;
  }

  /** Our filter on an interface, of this or an earlier agent. */
  #find(index: number): AttachedFilter | undefined {
    return this.#netlink.filters(index, this.#direction).find(({ name, priority }) =>
      (name === this.#name || name === this.#name + MADE) && priority === this.#priority
    );
  }

  #isMade(filter: AttachedFilter | undefined): boolean {
    return filter?.name.endsWith(MADE) === true;
  }

  #takeOff(index: number): void {
    const filter = this.#find(index);
    this.#netlink.removeFilter(this.#place(index));
    if (this.#isMade(filter)) this.#netlink.removeClsact(index);
  }

  #place(index: number) {
    return { index, direction: this.#direction, priority: this.#priority };
  }
}
