import { BPFFS, fileCall } from "../../../mod/sys/bpf/mod.ts";

/** The network namespace of the calling thread. Not /proc/self: that is the main thread's. */
const NAMESPACE = "/proc/thread-self/ns/net";

/**
 * Where the pins of a device's kernel path are. A device has its name in one network namespace only, and hosts
 * that are namespaces of one machine may share a BPF file system: hence the number of ours.
 */
export function pinDirectory(device: string): string {
  const target = fileCall("readlink", NAMESPACE, () => Deno.readLinkSync(NAMESPACE));
  return `${BPFFS}/flanneld/${device}_${/\d+/.exec(target)![0]}`;
}
