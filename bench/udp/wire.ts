import { setTransmitChecksumOffload } from "../../mod/sys/mod.ts";
import type { Namespace } from "../../tests/kernel/firewall/firewall_namespace.ts";

/**
 * Turns the tx offloads of an interface on or off, as `ethtool -K eth1 tx off` does. Without checksum offload the
 * kernel turns off scatter-gather and segmentation too, and a veth pair carries packets of at most its MTU, as a wire
 * does.
 */
export function setTxOffload(
  namespace: Pick<Namespace, "name">,
  device: string,
  on: boolean,
): void {
  setTransmitChecksumOffload(device, on, { netns: `/run/netns/${namespace.name}` });
}
