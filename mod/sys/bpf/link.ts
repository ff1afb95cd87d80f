import { closeDescriptor } from "../ffi/libc.ts";
import { bpf } from "./call.ts";
import { AttachType, BPF_LINK_TYPE_TCX } from "./constants.ts";
import { objectInfo } from "./info.ts";
import type { BpfProgram } from "./program.ts";

/** Side of an interface. */
export type Direction = "ingress" | "egress";

const attachType = (direction: Direction) =>
  direction === "ingress" ? AttachType.BPF_TCX_INGRESS : AttachType.BPF_TCX_EGRESS;

/** A program on an interface by TCX (Linux 6.6): attached for as long as a descriptor or a pin exists. */
export class TcxLink implements Disposable {
  /** @param fd that this instance owns from now on */
  constructor(readonly fd: number) {}

  /**
   * Attaches a program, behind those that are there.
   *
   * @param index of the interface, in the calling thread's network namespace
   * @throws {SysError} EINVAL before Linux 6.6; ENODEV when there is no such interface
   */
  static attach(program: BpfProgram, index: number, direction: Direction): TcxLink {
    const attributes = new Uint8Array(new ArrayBuffer(32));
    const view = new DataView(attributes.buffer);
    view.setInt32(0, program.fd, true);
    view.setInt32(4, index, true);
    view.setUint32(8, attachType(direction), true);
    const subject = `${program.name} at interface ${index} ${direction}`;
    return new TcxLink(bpf("BPF_LINK_CREATE", attributes, { subject }));
  }

  /** Puts another program in its place: each packet meets the one or the other. */
  update(program: BpfProgram): void {
    const attributes = new Uint8Array(new ArrayBuffer(16));
    const view = new DataView(attributes.buffer);
    view.setInt32(0, this.fd, true);
    view.setInt32(4, program.fd, true);
    bpf("BPF_LINK_UPDATE", attributes, { subject: program.name });
  }

  /** Detaches the program from the interface, even when other processes hold the link. */
  detach(): void {
    const attributes = new Uint8Array(new ArrayBuffer(8));
    new DataView(attributes.buffer).setInt32(0, this.fd, true);
    bpf("BPF_LINK_DETACH", attributes);
  }

  /** Id of the program that it runs. */
  get programId(): number {
    return objectInfo(this.fd, 12).getUint32(8, true);
  }

  /** Index of the interface that it is at; 0 when that is gone, or it was taken off. */
  get index(): number {
    return objectInfo(this.fd, 24).getUint32(16, true);
  }

  /** True when it is attached there: a link outlives its interface, attached to nothing. */
  isAt(index: number, direction: Direction): boolean {
    const info = objectInfo(this.fd, 24);
    return info.getUint32(0, true) === BPF_LINK_TYPE_TCX && info.getUint32(16, true) === index &&
      info.getUint32(20, true) === attachType(direction);
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
  }
}
