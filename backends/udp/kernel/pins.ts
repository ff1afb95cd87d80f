import { BPFFS, removePin } from "../../../mod/sys/bpf/mod.ts";
import { MAPS } from "./layout.ts";

/**
 * Where the pins of a device's kernel path are. A device has its name in one network namespace only, and hosts
 * that are namespaces of one machine may share a BPF file system: hence the number of ours.
 */
export function pinDirectory(device: string): string {
  // Not /proc/self: that is the main thread's.
  const namespace = /\d+/.exec(Deno.readLinkSync("/proc/thread-self/ns/net"))![0];
  return `${BPFFS}/flanneld/${device}_${namespace}`;
}

/** Removes the pins of the maps, and the directory. */
export function removePins(directory: string): void {
  for (const name of Object.keys(MAPS)) removePin(`${directory}/${name}`);
  try {
    Deno.removeSync(directory, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** True when something has this path. */
export function pathExists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
