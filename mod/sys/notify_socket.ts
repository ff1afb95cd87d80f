import { closeDescriptor, libc, unwrap } from "./ffi/libc.ts";
import { SOCK_CLOEXEC, SOCK_DGRAM } from "./linux_constants.ts";

const AF_UNIX = 1;
const MSG_NOSIGNAL = 0x4000;
/** unix(7): size of sun_path. */
const SUN_PATH = 108;

/**
 * Sends one datagram to a unix socket, as sd_notify(3) does.
 *
 * @param path of the socket; a leading `@` means an abstract name (unix(7)), as in NOTIFY_SOCKET
 * @param bytes at most the socket's send buffer (about 200 KB)
 * @throws {RangeError} when the path is empty or longer than a sockaddr_un holds (108 bytes)
 * @throws {SysError} when nobody listens (ENOENT, ECONNREFUSED) or the peer's queue stays full
 */
export function sendUnixDatagram(path: string, bytes: Uint8Array): void {
  const address = unixAddress(path);
  // A copy off V8's heap: the caller's few bytes may lie on it.
  const payload = new Uint8Array(new ArrayBuffer(Math.max(bytes.length, 1)));
  payload.set(bytes);
  const fd = unwrap("socket", libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    unwrap(
      "sendto",
      libc().sendto(fd, payload, bytes.length, MSG_NOSIGNAL, address, address.length),
      path,
    );
  } finally {
    closeDescriptor(fd);
  }
}

/** struct sockaddr_un, as long as its path needs: the length is part of an abstract name. */
function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  const abstract = path.startsWith("@");
  const length = abstract ? name.length : name.length + 1;
  if (name.length === 0 || length > SUN_PATH) {
    throw new RangeError(`unix socket path of ${name.length} bytes: ${JSON.stringify(path)}`);
  }
  const address = new Uint8Array(new ArrayBuffer(2 + length));
  address[0] = AF_UNIX;
  address.set(name, 2);
  if (abstract) address[2] = 0;
  return address;
}
