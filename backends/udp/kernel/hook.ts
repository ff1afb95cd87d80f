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

/** The place of one of the path's programs on an interface. The program keeps running when the agent ends. */
export interface Hook extends Disposable {
  /**
   * Attaches a program to an interface. Replaces the program that is there, so that each packet meets one of them,
   * and removes it from any other interface.
   *
   * @throws {SysError} when the kernel refuses
   */
  ensure(program: BpfProgram, index: number): void;
  /** Describes how the place differs from the state that {@linkcode Hook.ensure} left; else `undefined`. */
  damage(): string | undefined;
  /** Detaches the program, also one that an earlier agent left. */
  remove(): void;
}

/** An attached program. */
interface Attached {
  /** Index of the interface. */
  readonly index: number;
  readonly programId: number;
}

/** A TCX link, which a pin keeps attached. */
export class TcxHook implements Hook {
  readonly #path: string;
  readonly #direction: Direction;
  #link: TcxLink | undefined;
  #attached: Attached | undefined;

  /** @param path the pin's */
  constructor(path: string, direction: Direction) {
    this.#path = path;
    this.#direction = direction;
  }

  ensure(program: BpfProgram, index: number): void {
    this.#attached = undefined;
    const link = this.#openLink();
    if (link?.isAt(index, this.#direction)) {
      link.update(program);
      if (!this.#isPinned()) pin(link.fd, this.#path);
    } else {
      // The pinned link is detached, or attached to another interface.
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

  /** The program that this or an earlier agent has attached. */
  present(): Attached | undefined {
    const link = this.#openLink();
    return link && link.index !== 0 ? { index: link.index, programId: link.programId } : undefined;
  }

  remove(): void {
    const link = this.#openLink();
    this.#attached = undefined;
    // The link first: removing the pin fails when its file system has become read-only.
    link?.detach();
    this.#replace(undefined);
    removePin(this.#path);
  }

  [Symbol.dispose](): void {
    this.#attached = undefined;
    this.#replace(undefined);
  }

  /** Opens the link that this or an earlier process made. */
  #openLink(): TcxLink | undefined {
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

/** Suffix of a filter's name: flanneld made the clsact qdisc for it, so the next agent may remove the qdisc. */
const MADE = "+clsact";

/** Priority of flannel0's filters: flannel's udp port, which other programs are unlikely to choose. */
const FIRST_PRIORITY = 8285;

/** A clsact filter, for kernels before TCX (Linux 6.6). It needs no pin. */
export class ClsactHook implements Hook {
  readonly #netlink: Netlink;
  readonly #direction: Direction;
  readonly #name: string;
  /** Identifies the filter among others of the interface. */
  readonly #priority: number;
  /** Interfaces on which an earlier agent may have left a filter. */
  readonly #interfaces: readonly string[];
  #attached: Attached | undefined;

  /**
   * The place of the encapsulation program.
   *
   * @param interfaces names of the interfaces that may have the filter of an earlier agent
   */
  static encapsulate(
    netlink: Netlink,
    interfaces: readonly string[],
    device: string,
  ): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_out", "egress", interfaces, device);
  }

  /** The place of the decapsulation program; parameters as of {@linkcode ClsactHook.encapsulate}. */
  static decapsulate(
    netlink: Netlink,
    interfaces: readonly string[],
    device: string,
  ): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_in", "ingress", interfaces, device);
  }

  /** The place of the GRO device's program; parameters as of {@linkcode ClsactHook.encapsulate}. */
  static groArrival(netlink: Netlink, interfaces: readonly string[], device: string): ClsactHook {
    return new ClsactHook(netlink, "flanneld_udp_gro", "ingress", interfaces, device);
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
    // The external interface has one filter for each TUN device.
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
    for (const other of this.#present()) if (other !== index) this.#detach(other);
    if (former !== undefined) this.#detach(former);
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

  /** The first filter found that this or an earlier agent has attached. */
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
    for (const index of indices) this.#detach(index);
  }

  [Symbol.dispose](): void {}

  /** Indices of the interfaces that have the filter. */
  #present(): Set<number> {
    const indices = this.#interfaces.map((name) => this.#netlink.link(name)?.index);
    return new Set(
      indices.filter((index) => index !== undefined && this.#find(index) !== undefined),
    ) as Set<number>;
  }

  /** The filter of this or an earlier agent on an interface. */
  #find(index: number): AttachedFilter | undefined {
    return this.#netlink.filters(index, this.#direction).find(({ name, priority }) =>
      (name === this.#name || name === this.#name + MADE) && priority === this.#priority
    );
  }

  #isMade(filter: AttachedFilter | undefined): boolean {
    return filter?.name.endsWith(MADE) === true;
  }

  #detach(index: number): void {
    const filter = this.#find(index);
    this.#netlink.removeFilter(this.#place(index));
    if (this.#isMade(filter)) this.#netlink.removeClsact(index);
  }

  #place(index: number) {
    return { index, direction: this.#direction, priority: this.#priority };
  }
}
