import { Arena, inNetworkNamespace, libc, unwrap } from "../../mod/sys/mod.ts";
import type { Namespace } from "../../tests/kernel/firewall/firewall_namespace.ts";

/** linux/sockios.h, linux/ethtool.h. */
const SIOCETHTOOL = 0x8946;
const ETHTOOL_STXCSUM = 0x17;
const IFNAMSIZ = 16;
const IFREQ = 40;

/**
 * Turns the tx offloads of an interface on or off, as `ethtool -K eth1 tx off` does: without
 * checksums the kernel takes scatter-gather and segmentation away too, and a veth pair carries
 * packets of at most its MTU, as a wire does.
 */
export function setTxOffload(
  namespace: Pick<Namespace, "name">,
  device: string,
  on: boolean,
): void {
  using arena = new Arena();
  const value = arena.allocate(8); // struct ethtool_value: cmd, data.
  value.view.setUint32(0, ETHTOOL_STXCSUM, true);
  value.view.setUint32(4, on ? 1 : 0, true);
  const request = arena.allocate(IFREQ);
  request.bytes.set(new TextEncoder().encode(device));
  request.view.setBigUint64(IFNAMSIZ, value.address, true);
  inNetworkNamespace(`/run/netns/${namespace.name}`, () => {
    const fd = unwrap("socket", libc().socket(2, 2, 0));
    try {
      unwrap("SIOCETHTOOL", libc().ioctl(fd, SIOCETHTOOL, request.bytes), device);
    } finally {
      libc().close(fd);
    }
  });
}
