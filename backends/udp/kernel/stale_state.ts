import { pathExists, removePinDirectory } from "../../../mod/sys/bpf/mod.ts";
import type { Netlink } from "../../../mod/sys/mod.ts";
import { runAll } from "./run_all.ts";
import { findGroDevice, removeGroDevice } from "./gro/gro_device.ts";
import { ClsactHook, type Hook, TcxHook } from "./hook.ts";
import { pinDirectory } from "./pins.ts";

/** Kernel objects of a kernel path whose agent may have ended. */
export class StaleKernelPath {
  readonly #directory: string;
  readonly #filters: readonly ClsactHook[];
  readonly #netlink: Netlink;
  readonly #device: string;

  /**
   * @param device name of the TUN device
   * @param underlays names of the interfaces that may have been the external one
   */
  constructor(netlink: Netlink, device: string, underlays: readonly string[]) {
    this.#netlink = netlink;
    this.#device = device;
    this.#directory = pinDirectory(device);
    this.#filters = [
      ClsactHook.encapsulate(netlink, [device], device),
      ClsactHook.decapsulate(netlink, underlays, device),
    ];
  }

  /** Returns whether there is any such object. */
  exists(): boolean {
    return pathExists(this.#directory) ||
      findGroDevice(this.#netlink, this.#device) !== undefined ||
      this.#filters.some((filter) => filter.present() !== undefined);
  }

  /**
   * Removes all objects that exist.
   *
   * @throws {SysError} when the kernel refuses to remove one; the others are removed
   */
  remove(): void {
    const hooks: Hook[] = [...this.#filters];
    if (pathExists(this.#directory)) {
      hooks.push(
        new TcxHook(`${this.#directory}/encapsulate`, "egress"),
        new TcxHook(`${this.#directory}/decapsulate`, "ingress"),
      );
    }
    runAll([
      ...hooks.map((hook) => () => hook.remove()),
      // The kernel removes the device's program with the device.
      () => removeGroDevice(this.#netlink, this.#device),
      () => removePinDirectory(this.#directory),
    ]);
  }
}
