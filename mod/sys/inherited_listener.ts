import { SysError } from "./ffi/errno.ts";
import { closeDescriptor, libc, unwrap } from "./ffi/libc.ts";
import { AF_INET, AF_INET6, O_CLOEXEC, O_NONBLOCK } from "./linux_constants.ts";

/** The first descriptor that systemd passes, of sd_listen_fds(3). */
const SD_LISTEN_FDS_START = 3;
/** Of fcntl(2), asm-generic/fcntl.h. */
const F_GETFL = 3;
const F_SETFL = 4;
/** Of epoll_ctl(2), linux/eventpoll.h. */
const EPOLL_CTL_ADD = 1;
/** Bytes of a `struct sockaddr_storage`. */
const SOCKADDR_STORAGE = 128;

/** A socket that was to be passed cannot be used. */
class InheritedSocketError extends Error {
  override readonly name = "InheritedSocketError";
}

/**
 * Takes over a listening TCP socket that systemd passed (sd_listen_fds(3)).
 *
 * Deno cannot listen on a descriptor that it did not create (Deno 2.4 refuses node:net's
 * `listen({ fd })`). So a listener is created on a port of its own, and dup3(2) puts the passed socket in the
 * place of its descriptor. The runtime learns of connections by epoll, which refers to the old socket, not to
 * the descriptor; the new socket is registered as the old one was, with the data that `/proc/self/fdinfo`
 * shows (proc(5)).
 *
 * @param descriptor 3 for the first socket that was passed
 * @param environment `LISTEN_PID` and `LISTEN_FDS`
 * @throws {InheritedSocketError} when there is no such socket, or it is not one for TCP
 */
export function inheritListener(
  descriptor: number,
  environment: { readonly pid: string | undefined; readonly count: string | undefined },
): Deno.TcpListener {
  const count = environment.pid === String(Deno.pid) ? Number(environment.count ?? 0) : 0;
  if (!(descriptor < SD_LISTEN_FDS_START + count)) {
    throw new InheritedSocketError(
      `fd ${descriptor} is out of range (${SD_LISTEN_FDS_START + count}): systemd passed ` +
        `${
          count === 0 ? "no socket" : `${count} socket${count === 1 ? "" : "s"}, from fd 3 on`
        }; ` +
        "the service needs a .socket unit",
    );
  }
  const { family } = nameOf(descriptor) ?? { family: 0 };
  if (family !== AF_INET && family !== AF_INET6) {
    throw new InheritedSocketError(
      `fd ${descriptor} is not a TCP socket: use ListenStream=HOST:PORT`,
    );
  }
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    replace(descriptorOf(listener.addr), descriptor);
  } catch (error) {
    listener.close();
    throw error;
  }
  return listener;
}

/** Makes `target` refer to the socket of `source`, in the runtime's epoll too; closes `source`. */
function replace(target: number, source: number): void {
  const registrations = registrationsOf(target);
  if (registrations.length === 0) {
    throw new InheritedSocketError("this runtime does not wait for connections by epoll");
  }
  const flags = unwrap("fcntl", libc().fcntl(source, F_GETFL, 0));
  unwrap("fcntl", libc().fcntl(source, F_SETFL, flags | O_NONBLOCK));
  // dup3() closes the old socket, which then leaves every epoll.
  unwrap("dup3", libc().dup3(source, target, O_CLOEXEC));
  for (const { epoll, events, data } of registrations) {
    // struct epoll_event is packed on x86-64, and nowhere else.
    const offset = Deno.build.arch === "x86_64" ? 4 : 8;
    const view = new DataView(new ArrayBuffer(64));
    view.setUint32(0, events, true);
    view.setBigUint64(offset, data, true);
    const event = new Uint8Array(view.buffer);
    try {
      unwrap("epoll_ctl", libc().epoll_ctl(epoll, EPOLL_CTL_ADD, target, event));
    } catch (error) {
      // Two descriptors may stand for one epoll.
      if (!(error instanceof SysError) || error.code !== "EEXIST") throw error;
    }
  }
  closeDescriptor(source);
}

interface Registration {
  readonly epoll: number;
  readonly events: number;
  readonly data: bigint;
}

/** The epolls of this process that watch a descriptor. */
function registrationsOf(descriptor: number): Registration[] {
  const found: Registration[] = [];
  for (const epoll of descriptors()) {
    let link: string, info: string;
    try {
      link = Deno.readLinkSync(`/proc/self/fd/${epoll}`);
      if (link !== "anon_inode:[eventpoll]") continue;
      info = Deno.readTextFileSync(`/proc/self/fdinfo/${epoll}`);
    } catch {
      continue; // Closed meanwhile.
    }
    for (
      const [, tfd, events, data] of info.matchAll(/tfd:\s*(\d+) events:\s*(\w+) data:\s*(\w+)/g)
    ) {
      if (Number(tfd) !== descriptor) continue;
      found.push({ epoll, events: parseInt(events!, 16), data: BigInt(`0x${data}`) });
    }
  }
  return found;
}

/** The descriptor of a listener, by its address: no two sockets listen on one. */
function descriptorOf({ port }: Deno.NetAddr): number {
  for (const descriptor of descriptors()) {
    const name = nameOf(descriptor);
    if (name?.family === AF_INET && name.port === port) return descriptor;
  }
  throw new InheritedSocketError("the runtime's own socket cannot be found");
}

function descriptors(): number[] {
  return [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name));
}

/** Family and port of a socket; `undefined` for what is none. */
function nameOf(descriptor: number): { family: number; port: number } | undefined {
  const name = new DataView(new ArrayBuffer(SOCKADDR_STORAGE));
  const length = new DataView(new ArrayBuffer(64));
  length.setUint32(0, SOCKADDR_STORAGE, true);
  const result = libc().getsockname(
    descriptor,
    new Uint8Array(name.buffer),
    new Uint8Array(length.buffer),
  );
  if (result === -1) return undefined;
  return { family: name.getUint16(0, true), port: name.getUint16(2) };
}
