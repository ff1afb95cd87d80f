import { ipv4ToBytes, parseIPv4 } from "../../../mod/ip/mod.ts";
import { closeDescriptor, inNetworkNamespace, libc, unwrap } from "../../../mod/sys/mod.ts";
import type { Namespace } from "../firewall/firewall_namespace.ts";
import {
  AF_INET,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from "../../../mod/sys/linux_constants.ts";

const SOCKET_TYPE = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

/** A host that sends and receives raw datagrams, for tests of the wire format and of forged senders. */
export class RawPeer implements Disposable {
  readonly #fd: number;

  /** @param address one of the namespace's addresses */
  constructor(namespace: Namespace, address: string, port = 8285) {
    this.#fd = inNetworkNamespace(`/run/netns/${namespace.name}`, () => {
      const fd = unwrap("socket", libc().socket(AF_INET, SOCKET_TYPE, 0));
      unwrap("bind", libc().bind(fd, socketAddress(address, port), 16));
      return fd;
    });
  }

  /** Sends a datagram. */
  send(to: string, payload: Uint8Array, port = 8285): void {
    const bytes = new Uint8Array(new ArrayBuffer(payload.length));
    bytes.set(payload);
    unwrap(
      "sendto",
      libc().sendto(this.#fd, bytes, bytes.length, 0, socketAddress(to, port), 16),
    );
  }

  /**
   * Receives the next datagram.
   *
   * @throws {Error} when none arrives within two seconds
   */
  async receive(): Promise<Uint8Array> {
    const buffer = new Uint8Array(new ArrayBuffer(65536));
    for (let tries = 0; tries < 400; tries++) {
      const length = libc().recv(this.#fd, buffer, buffer.length, 0);
      if (length >= 0) return buffer.slice(0, length);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error("no datagram arrived");
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }
}

function socketAddress(address: string, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  bytes.set(ipv4ToBytes(parseIPv4(address)!), 4);
  return bytes;
}
