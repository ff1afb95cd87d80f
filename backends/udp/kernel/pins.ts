import { BPFFS, fileCall } from "../../../mod/sys/bpf/mod.ts";

/** Network namespace of the calling thread; /proc/self would be the main thread's. */
const NAMESPACE = "/proc/thread-self/ns/net";

/**
 * Directory of the pins of a device's kernel path. It contains the namespace's number, because hosts that are
 * namespaces of one machine may share a BPF file system and have devices of the same name.
 */
export function pinDirectory(device: string): string {
  const target = fileCall("readlink", NAMESPACE, () => Deno.readLinkSync(NAMESPACE));
  return `${BPFFS}/flanneld/${device}_${/\d+/.exec(target)![0]}`;
}
