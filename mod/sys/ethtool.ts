import { Arena } from "./ffi/arena.ts";
import { closeDescriptor, libc, unwrap } from "./ffi/libc.ts";
import { inNetworkNamespace } from "./namespace.ts";
import { AF_INET, IFNAMSIZ, IFREQ_LENGTH, SOCK_CLOEXEC, SOCK_DGRAM } from "./linux_constants.ts";

/** linux/sockios.h. */
const SIOCETHTOOL = 0x8946;
/** linux/ethtool.h: the driver; get and set transmit checksum offload, all features of it that the device has. */
const ETHTOOL_GDRVINFO = 0x03;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;

/** struct ethtool_value: u32 cmd, u32 data. */
const VALUE_LENGTH = 8;
/** struct ethtool_drvinfo: u32 cmd, then driver[32], version[32], fw_version[32], bus_info[32], ... */
const DRVINFO_LENGTH = 196;
const DRIVER = 4;
const BUS_INFO = 100;
const TEXT_LENGTH = 32;

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
 * Returns whether checksums of packets that leave by a device are computed later: by the network card, or
 * at the end of a tunnel. `ethtool -k` shows it as tx-checksumming; on a vxlan device that is
 * tx-checksum-ip-generic alone.
 *
 * @throws {SysError} ENODEV without such a device; EOPNOTSUPP when it has no answer
 */
export function transmitChecksumOffload(device: string, options: EthtoolOptions = {}): boolean {
  return ethtool(ETHTOOL_GTXCSUM, VALUE_LENGTH, device, options).getUint32(4, true) !== 0;
}

/**
 * Turns transmit checksum offload on or off. Segmentation offload depends on it, and is off with it.
 *
 * @throws {SysError} ENODEV without such a device; EOPNOTSUPP when it cannot be changed
 */
export function setTransmitChecksumOffload(
  device: string,
  on: boolean,
  options: EthtoolOptions = {},
): void {
  ethtool(ETHTOOL_STXCSUM, VALUE_LENGTH, device, options, on ? 1 : 0);
}

/** The driver of a device, and its place on a bus. */
export interface DriverInfo {
  readonly driver: string;
  /** `0000:03:00.0`; empty on a device that is software. */
  readonly bus: string;
}

/**
 * Returns the driver of a device, as `ethtool -i` shows it.
 *
 * @throws {SysError} ENODEV without such a device; EOPNOTSUPP when it has no answer
 */
export function driverInfo(device: string, options: EthtoolOptions = {}): DriverInfo {
  const info = ethtool(ETHTOOL_GDRVINFO, DRVINFO_LENGTH, device, options);
  const text = (at: number) => {
    const bytes = new Uint8Array(info.buffer, at, TEXT_LENGTH);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  };
  return { driver: text(DRIVER), bus: text(BUS_INFO) };
}

/** @returns the structure of `length` bytes that the kernel has filled in */
function ethtool(
  command: number,
  length: number,
  device: string,
  { netns }: EthtoolOptions,
  data = 0,
): DataView<ArrayBuffer> {
  const name = new TextEncoder().encode(device);
  if (name.length >= IFNAMSIZ || name.includes(0)) {
    throw new RangeError(`no device name: ${device}`);
  }
  using arena = new Arena();
  const value = arena.allocate(length);
  value.view.setUint32(0, command, true);
  value.view.setUint32(4, data, true);
  const request = arena.allocate(IFREQ_LENGTH);
  request.bytes.set(name);
  request.view.setBigUint64(IFNAMSIZ, value.address, true);
  const fd = inNetworkNamespace(
    netns,
    () => unwrap("socket", libc().socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
  );
  try {
    unwrap("ioctl SIOCETHTOOL", libc().ioctl(fd, SIOCETHTOOL, request.bytes), device);
  } finally {
    closeDescriptor(fd);
  }
  return value.view;
}
