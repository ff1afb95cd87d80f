import { Arena } from "./ffi/arena.ts";
import { closeDescriptor, libc, unwrap } from "./ffi/libc.ts";
import { inNetworkNamespace } from "./namespace.ts";

const AF_INET = 2;
/** SOCK_DGRAM | SOCK_CLOEXEC, x86-64 and arm64. */
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;

/** linux/sockios.h. */
const SIOCETHTOOL = 0x8946;
/** linux/ethtool.h: get and set transmit checksum offload, whichever of its features the device has. */
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;

/** struct ifreq of net/if.h: char name[16], then a union that holds a pointer. */
const IFREQ_LENGTH = 40;
const IFNAMSIZ = 16;
/** struct ethtool_value: u32 cmd, u32 data. */
const VALUE_LENGTH = 8;

/** Where the device is. */
export interface EthtoolOptions {
  /**
   * Path of a network namespace.
   *
   * @default the calling thread's
   */
  readonly netns?: string | undefined;
}

/**
 * Whether checksums of packets that leave by a device are left to be computed later: by the network
 * card, or where they leave a tunnel. `ethtool -k` shows it as tx-checksumming; on a vxlan device that is
 * tx-checksum-ip-generic alone.
 *
 * @throws {SysError} ENODEV without such a device; EOPNOTSUPP when it does not tell
 */
export function transmitChecksumOffload(device: string, options: EthtoolOptions = {}): boolean {
  return ethtool(ETHTOOL_GTXCSUM, 0, device, options) !== 0;
}

/**
 * Turns it on or off. Off takes segmentation offload along, which depends on it, until it is on again.
 *
 * @throws {SysError} ENODEV without such a device; EOPNOTSUPP when it cannot be changed
 */
export function setTransmitChecksumOffload(
  device: string,
  on: boolean,
  options: EthtoolOptions = {},
): void {
  ethtool(ETHTOOL_STXCSUM, on ? 1 : 0, device, options);
}

/** @returns what `data` is afterwards */
function ethtool(
  command: number,
  data: number,
  device: string,
  { netns }: EthtoolOptions,
): number {
  const name = new TextEncoder().encode(device);
  if (name.length >= IFNAMSIZ || name.includes(0)) {
    throw new RangeError(`no device name: ${device}`);
  }
  using arena = new Arena();
  const value = arena.allocate(VALUE_LENGTH);
  value.view.setUint32(0, command, true);
  value.view.setUint32(4, data, true);
  const request = arena.allocate(IFREQ_LENGTH);
  request.bytes.set(name);
  request.view.setBigUint64(IFNAMSIZ, value.address, true);
  const fd = inNetworkNamespace(
    netns,
    () => unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0)),
  );
  try {
    unwrap("ioctl SIOCETHTOOL", libc().ioctl(fd, SIOCETHTOOL, request.bytes), device);
  } finally {
    closeDescriptor(fd);
  }
  return value.view.getUint32(4, true);
}
