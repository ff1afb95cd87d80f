import {
  closeDescriptor,
  Errno,
  errno,
  inNetworkNamespace,
  libc,
  SysError,
  unwrap,
} from "../sys/mod.ts";
import { attachFilter, type MessageCondition, messageFilter } from "./echo_filter.ts";
import { SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "../sys/linux_constants.ts";

/** linux/socket.h, linux/if_ether.h, linux/if_packet.h; x86-64 and arm64 alike. */
const AF_PACKET = 17;
/** With SOCK_DGRAM packets come without their link header. */
const SOCKET_TYPE = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
/** Other protocol numbers do not include outgoing packets. */
const ETH_P_ALL = 3;
/** struct sockaddr_ll: u16 family, be16 protocol, i32 ifindex, u16, u8, u8, u8[8]. */
const SOCKADDR_LL = 20;
/** Bytes to read of each packet: the headers and the token. */
const SNAP = 128;

/** Captures ICMP messages that an interface receives or sends. Received ones are seen before the firewall. */
export class PacketCapture implements Disposable {
  readonly #fd: number;
  readonly #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(new ArrayBuffer(SNAP));
  readonly #view: DataView = new DataView(this.#bytes.buffer);

  /**
   * Starts the capture.
   *
   * @param index index of the interface
   * @throws {SysError} EPERM without CAP_NET_RAW
   */
  constructor(index: number, condition: MessageCondition, netns?: string) {
    // With protocol 0 the socket receives nothing until bind(2), after the filter is attached.
    this.#fd = inNetworkNamespace(
      netns,
      () => unwrap("socket", libc().socket(AF_PACKET, SOCKET_TYPE, 0)),
    );
    try {
      attachFilter(this.#fd, messageFilter(condition));
      const address = new Uint8Array(new ArrayBuffer(SOCKADDR_LL));
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_PACKET, true);
      view.setUint16(2, ETH_P_ALL);
      view.setInt32(4, index, true);
      unwrap("bind", libc().bind(this.#fd, address, SOCKADDR_LL));
    } catch (error) {
      closeDescriptor(this.#fd);
      throw error;
    }
  }

  /** Passes captured packets to `onPacket`, from the IP header on. Each is valid until the next one. */
  receive(onPacket: (view: DataView, length: number) => void): void {
    for (;;) {
      const length = libc().recv(this.#fd, this.#bytes, SNAP, 0);
      if (length === -1) {
        const number = errno();
        if (number === Errno.EAGAIN) return;
        // The interface is down or was removed.
        if (number === Errno.ENETDOWN) return;
        throw new SysError("recv", number);
      }
      onPacket(this.#view, length);
    }
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }
}
