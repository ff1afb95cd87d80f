import { assertEquals, assertThrows } from "@std/assert";
import { Errno, SysError } from "./errno.ts";
import { closeDescriptor, cString, libc, unwrap } from "./libc.ts";

libc();

const EFD_NONBLOCK = 0o4000;

Deno.test("unwrap() returns a result and turns -1 into the error of that very call", () => {
  const fd = unwrap("eventfd", libc().eventfd(3, EFD_NONBLOCK));
  try {
    const count = new Uint8Array(new ArrayBuffer(8));
    assertEquals(unwrap("read", libc().read(fd, count, 8)), 8);
    assertEquals(count[0], 3);
    const empty = assertThrows(() => unwrap("read", libc().read(fd, count, 8)), SysError);
    assertEquals([empty.syscall, empty.errno], ["read", Errno.EAGAIN]);
    const short = assertThrows(() => unwrap("read", libc().read(fd, count, 4)), SysError);
    assertEquals(short.errno, Errno.EINVAL);
  } finally {
    closeDescriptor(fd);
  }
  const closed = new Uint8Array(new ArrayBuffer(8));
  const error = assertThrows(
    () => unwrap("read", libc().read(fd, closed, 8), "the event"),
    SysError,
  );
  assertEquals(error.message, "read the event: EBADF: bad file descriptor");
});

Deno.test("libc() takes plain numbers where C has 64 bits", () => {
  const SIOCGIFINDEX = 0x8933; // linux/sockios.h
  const fd = unwrap("socket", libc().socket(2, 2, 0)); // AF_INET, SOCK_DGRAM
  try {
    const ifreq = new Uint8Array(new ArrayBuffer(40));
    ifreq.set(cString("lo"));
    unwrap("ioctl", libc().ioctl(fd, SIOCGIFINDEX, ifreq));
    assertEquals(new DataView(ifreq.buffer).getInt32(16, true), 1);
    const F_GETFD = 1;
    assertEquals(unwrap("fcntl", libc().fcntl(fd, F_GETFD, 0)), 0);
  } finally {
    closeDescriptor(fd);
  }
});

Deno.test("cString() ends with a NUL and refuses one inside", () => {
  assertEquals([...cString("/é")], [0x2f, 0xc3, 0xa9, 0]);
  assertThrows(() => cString("/etc\0/passwd"), TypeError, "NUL");
});
