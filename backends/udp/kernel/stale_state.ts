import { pathExists, removePinDirectory } from "../../../mod/sys/bpf/mod.ts";
import type { Netlink } from "../../../mod/sys/mod.ts";
import { everyStep } from "./run_all.ts";
import { findHop, removeHop } from "./gro/gro_device.ts";
import { ClsactHook, type Hook, TcxHook } from "./hook.ts";
import { pinDirectory } from "./pins.ts";

/** A kernel path whose agent may have ended, known by its traces alone. */
export class KernelLeftover {
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

  /** True when there is anything. */
  exists(): boolean {
    return pathExists(this.#directory) || findHop(this.#netlink, this.#device) !== undefined ||
      this.#filters.some((filter) => filter.present() !== undefined);
  }

  /**
   * Takes it away; what is gone already is fine.
   *
   * @throws {SysError} when the kernel refuses something; the rest is gone
   */
  remove(): void {
    const hooks: Hook[] = [...this.#filters];
    if (pathExists(this.#directory)) {
      hooks.push(
        new TcxHook(`${this.#directory}/encapsulate`, "egress"),
        new TcxHook(`${this.#directory}/decapsulate`, "ingress"),
      );
    }
    everyStep([
      ...hooks.map((hook) => () => hook.remove()),
      // Its program goes with it.
      () => removeHop(this.#netlink, this.#device),
      () => removePinDirectory(this.#directory),
    ]);
  }
}
