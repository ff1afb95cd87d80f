import { assertEquals, assertThrows } from "@std/assert";
import { Arena } from "./ffi/arena.ts";
import { SysError } from "./ffi/errno.ts";
import { closeDescriptor, libc, unwrap } from "./ffi/libc.ts";
import { sendUnixDatagram } from "./notify_socket.ts";

libc();

/** A bound AF_UNIX datagram socket. */
function listen(path: string): { fd: number; receive(): string } & Disposable {
  const arena = new Arena();
  const name = new TextEncoder().encode(path.replace(/^@/, "\0"));
  const address = arena.allocate(2 + name.length + (path.startsWith("@") ? 0 : 1));
  address.view.setUint16(0, 1, true);
  address.bytes.set(name, 2);
  const fd = unwrap("socket", libc().socket(1, 2 | 0o2004000, 0));
  unwrap("bind", libc().bind(fd, address.bytes, address.bytes.length));
  const buffer = arena.allocate(65536);
  return {
    fd,
    receive() {
      const length = unwrap("recv", libc().recv(fd, buffer.bytes, buffer.bytes.length, 0));
      return new TextDecoder().decode(buffer.bytes.subarray(0, length));
    },
    [Symbol.dispose]() {
      closeDescriptor(fd);
      arena.close();
    },
  };
}

const utf8 = (text: string) => new TextEncoder().encode(text);

Deno.test("sendUnixDatagram() reaches a path and an abstract name", async () => {
  const directory = await Deno.makeTempDir();
  try {
    for (const path of [`${directory}/notify`, `@${directory}/notify`]) {
      using socket = listen(path);
      sendUnixDatagram(path, utf8("READY=1\nSTATUS=lease 10.20.93.0/24"));
      sendUnixDatagram(path, utf8("x"));
      assertEquals(socket.receive(), "READY=1\nSTATUS=lease 10.20.93.0/24");
      assertEquals(socket.receive(), "x");
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("sendUnixDatagram() names the socket that nobody listens on", () => {
  assertThrows(
    () => sendUnixDatagram("/nonexistent/notify", utf8("READY=1")),
    SysError,
    "sendto /nonexistent/notify: ENOENT",
  );
  assertThrows(
    () => sendUnixDatagram(`@${crypto.randomUUID()}`, utf8("READY=1")),
    SysError,
    "ECONNREFUSED",
  );
});

Deno.test("sendUnixDatagram() takes paths up to what an address holds", () => {
  // 108 bytes with the terminating NUL, unix(7); an abstract name has none.
  assertThrows(() => sendUnixDatagram("/" + "a".repeat(106), utf8("x")), SysError, "ENOENT");
  assertThrows(() => sendUnixDatagram("/" + "a".repeat(107), utf8("x")), RangeError, "108 bytes");
  assertThrows(() => sendUnixDatagram("@" + "a".repeat(107), utf8("x")), SysError, "ECONNREFUSED");
  assertThrows(() => sendUnixDatagram("", utf8("x")), RangeError, "0 bytes");
});
