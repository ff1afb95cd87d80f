import {
  attachTunDevice,
  closeDescriptor,
  Errno,
  errno,
  inNetworkNamespace,
  libc,
  type Link,
  type Mac,
  type Netlink,
  SysError,
} from "../sys/mod.ts";
import { IFF_NO_PI } from "../sys/linux_constants.ts";

/** linux/if_tun.h: Ethernet frames. */
const IFF_TAP = 0x0002;
/** The kernel replaces %d by a number. */
const NAME = "fl-probe%d";
/** Bytes to read of each frame. */
const FRAME = 256;

/**
 * A bridge port whose other end is this process. Frames that it sends enter the bridge like a container's. It
 * is a TAP device, which the kernel removes when the process ends.
 */
export class BridgePort implements Disposable {
  /** The bridge before the port was attached. */
  readonly bridge: Link;
  readonly #netlink: Netlink;
  readonly #fd: number;
  readonly #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(new ArrayBuffer(FRAME));

  /**
   * Attaches a port.
   *
   * @throws {SysError} ENOENT without the tun module; EPERM without CAP_NET_ADMIN
   */
  constructor(netlink: Netlink, bridge: Link, netns?: string) {
    this.bridge = bridge;
    this.#netlink = netlink;
    const { fd, name } = inNetworkNamespace(
      netns,
      () => attachTunDevice(NAME, IFF_TAP | IFF_NO_PI),
    );
    this.#fd = fd;
    try {
      const index = netlink.link(name)?.index;
      if (index === undefined) throw new SysError("RTM_GETLINK", Errno.ENODEV, { subject: name });
      // A bridge without values of its own takes the lowest MAC and the least MTU of its ports.
      netlink.setLink(index, { mac: highMac(), mtu: bridge.mtu });
      netlink.setLink(index, { master: bridge.index });
      netlink.setLink(index, { up: true });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The bridge's MAC, the destination of frames for the host to forward. */
  get bridgeMac(): Mac {
    const mac = this.#netlink.linkByIndex(this.bridge.index)?.mac;
    if (mac === undefined) {
      throw new SysError("RTM_GETLINK", Errno.ENODEV, { subject: this.bridge.name });
    }
    return mac;
  }

  /** Sends a frame to the bridge. A frame that the kernel refuses is lost, as on a wire. */
  send(frame: Uint8Array<ArrayBuffer>): void {
    libc().write(this.#fd, frame, frame.length);
  }

  /** Passes queued frames to `onFrame`, cut to 256 bytes. Each frame is valid until the next one. */
  receive(onFrame: (frame: Uint8Array<ArrayBuffer>) => void): void {
    for (;;) {
      const length = libc().read(this.#fd, this.#bytes, FRAME);
      if (length === -1) {
        const number = errno();
        if (number === Errno.EAGAIN) return;
        throw new SysError("read", number, { subject: this.bridge.name });
      }
      onFrame(this.#bytes.subarray(0, length));
    }
  }

  /** Removes the port. */
  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
    // Without its last port a bridge loses the MAC and MTU taken from its ports.
    const { index, mtu, mac } = this.bridge;
    const left = this.#netlink.linkByIndex(index);
    if (left === undefined) return;
    if (left.mtu !== mtu) this.#netlink.setLink(index, { mtu });
    if (left.mac !== mac && mac !== undefined) this.#netlink.setLink(index, { mac });
  }
}

/** Returns a random, locally administered MAC above those of containers. */
function highMac(): Mac {
  const octets = crypto.getRandomValues(new Uint8Array(3));
  return `fe:ff:ff:${Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join(":")}`;
}
