/**
 * The C library's functions, as much of them as the project calls: one table.
 *
 * Conventions. Results are `i32` even for ssize_t in C, since 64-bit results become bigint and
 * none of these moves 2 GB at a time. Memory is `buffer`, which takes any typed array off V8's heap
 * (see {@linkcode Arena}) and costs what `pointer` costs; only functions that run on another thread
 * take `pointer`, because nothing would keep a buffer alive for them. A sync call adds 10 to 30 ns to
 * the system call; a nonblocking one 33 us and a thread.
 *
 * `ioctl`, `open` and `fcntl` are variadic in C. On x86-64 and on arm64 Linux an integer or pointer
 * among variadic arguments is passed like any other, so a fixed signature calls them correctly.
 *
 * @module
 */
import { SysError } from "./errno.ts";

/** Needs glibc 2.27 or newer, as the runtime itself does. */
const SYMBOLS = {
  // int *__errno_location(void)
  __errno_location: { parameters: [], result: "pointer" },

  // Descriptors.
  open: {
    parameters: ["buffer", /* pathname */ "i32", /* flags */ "u32" /* mode */],
    result: "i32",
  },
  close: { parameters: ["i32" /* fd */], result: "i32" },
  read: { parameters: ["i32", /* fd */ "buffer", /* buf */ "usize" /* count */], result: "i32" },
  write: { parameters: ["i32", /* fd */ "buffer", /* buf */ "usize" /* count */], result: "i32" },
  readv: { parameters: ["i32", /* fd */ "buffer", /* iov */ "i32" /* iovcnt */], result: "i32" },
  writev: { parameters: ["i32", /* fd */ "buffer", /* iov */ "i32" /* iovcnt */], result: "i32" },
  flock: { parameters: ["i32", /* fd */ "i32" /* operation */], result: "i32" },
  fchmod: { parameters: ["i32", /* fd */ "u32" /* mode */], result: "i32" },
  fcntl: { parameters: ["i32", /* fd */ "i32", /* cmd */ "i32" /* arg */], result: "i32" },
  ioctl: {
    parameters: ["i32", /* fd */ "u64", /* request */ "buffer" /* argp */],
    result: "i32",
  },
  // The same function, for requests whose argument is the value itself (TUNSETOFFLOAD).
  ioctl_int: {
    name: "ioctl",
    parameters: ["i32", /* fd */ "u64", /* request */ "u64" /* arg */],
    result: "i32",
  },
  poll: {
    parameters: ["buffer", /* fds */ "u64", /* nfds */ "i32" /* timeout, ms */],
    result: "i32",
  },
  // On a thread of the runtime's pool. errno is that thread's and cannot be had: after -1, ask the
  // sync poll with timeout 0.
  poll_async: {
    name: "poll",
    parameters: ["pointer", /* fds */ "u64", /* nfds */ "i32" /* timeout, ms */],
    result: "i32",
    nonblocking: true,
  },
  dup3: { parameters: ["i32", /* oldfd */ "i32", /* newfd */ "i32" /* flags */], result: "i32" },
  epoll_ctl: {
    parameters: ["i32", /* epfd */ "i32", /* op */ "i32", /* fd */ "buffer" /* event */],
    result: "i32",
  },
  malloc_trim: { parameters: ["usize" /* pad */], result: "i32" },
  eventfd: { parameters: ["u32", /* initval */ "i32" /* flags */], result: "i32" },

  // Sockets.
  socket: {
    parameters: ["i32", /* domain */ "i32", /* type */ "i32" /* protocol */],
    result: "i32",
  },
  bind: {
    parameters: ["i32", /* sockfd */ "buffer", /* addr */ "u32" /* addrlen */],
    result: "i32",
  },
  connect: {
    parameters: ["i32", /* sockfd */ "buffer", /* addr */ "u32" /* addrlen */],
    result: "i32",
  },
  getsockname: {
    parameters: ["i32", /* sockfd */ "buffer", /* addr */ "buffer" /* addrlen */],
    result: "i32",
  },
  setsockopt: {
    parameters: [
      "i32", /* sockfd */
      "i32", /* level */
      "i32", /* optname */
      "buffer", /* optval */
      "u32", /* optlen */
    ],
    result: "i32",
  },
  getsockopt: {
    parameters: [
      "i32", /* sockfd */
      "i32", /* level */
      "i32", /* optname */
      "buffer", /* optval */
      "buffer", /* optlen */
    ],
    result: "i32",
  },
  send: {
    parameters: ["i32", /* sockfd */ "buffer", /* buf */ "usize", /* len */ "i32" /* flags */],
    result: "i32",
  },
  sendto: {
    parameters: [
      "i32", /* sockfd */
      "buffer", /* buf */
      "usize", /* len */
      "i32", /* flags */
      "buffer", /* dest_addr */
      "u32", /* addrlen */
    ],
    result: "i32",
  },
  sendmmsg: {
    parameters: ["i32", /* sockfd */ "buffer", /* msgvec */ "u32", /* vlen */ "i32" /* flags */],
    result: "i32",
  },
  recv: {
    parameters: ["i32", /* sockfd */ "buffer", /* buf */ "usize", /* len */ "i32" /* flags */],
    result: "i32",
  },
  recvmsg: {
    parameters: ["i32", /* sockfd */ "buffer", /* msg */ "i32" /* flags */],
    result: "i32",
  },
  recvmmsg: {
    parameters: [
      "i32", /* sockfd */
      "buffer", /* msgvec */
      "u32", /* vlen */
      "i32", /* flags */
      "buffer", /* timeout */
    ],
    result: "i32",
  },

  // Namespaces and processes.
  setns: { parameters: ["i32", /* fd */ "i32" /* nstype */], result: "i32" },
  unshare: { parameters: ["i32" /* flags */], result: "i32" },
  setrlimit: { parameters: ["i32", /* resource */ "buffer" /* rlim */], result: "i32" },
  kill: { parameters: ["i32", /* pid */ "i32" /* sig */], result: "i32" },
  clock_gettime: { parameters: ["i32", /* clockid */ "buffer" /* tp */], result: "i32" },
  mount: {
    parameters: [
      "buffer", /* source */
      "buffer", /* target */
      "buffer", /* filesystemtype */
      "u64", /* mountflags */
      "buffer", /* data */
    ],
    result: "i32",
  },
  // For system calls that the C library has no function for, with the arguments of bpf(2).
  syscall: {
    parameters: ["i64", /* number */ "i32", /* cmd */ "buffer", /* attr */ "u32" /* size */],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** 64-bit parameters take plain numbers as well; only the runtime's own types leave that out. */
type Widened<Parameters extends unknown[]> = {
  [Index in keyof Parameters]: Parameters[Index] extends bigint ? number | bigint
    : Parameters[Index];
};

/** The functions of {@linkcode libc}. */
export type Libc = {
  readonly [Name in keyof Symbols]: (
    ...args: Widened<Parameters<Symbols[Name]>>
  ) => ReturnType<Symbols[Name]>;
};

let library: Deno.DynamicLibrary<typeof SYMBOLS> | undefined;

/**
 * The C library, opened at the first call and never closed: 4 ms that a `-version` need not pay.
 *
 * Tests call it once outside any test: older runtimes hold the library for a leak of the test that
 * happens to open it.
 *
 * @throws {Deno.errors.NotCapable} without `--allow-ffi`
 */
export function libc(): Libc {
  if (library === undefined) {
    library = Deno.dlopen("libc.so.6", SYMBOLS);
    errno(); // So that the first call that matters finds it compiled and allocates nothing.
  }
  return library.symbols as Libc;
}

let errnoLocation: Deno.UnsafePointerView | undefined;

/**
 * The calling thread's errno. Nothing but the failed call may come before it: any other call into C
 * may overwrite the number.
 *
 * "Any other call" includes V8's own: when an allocation makes it wait for a lock the first time, it
 * looks for the processor's frequency in /sys, and leaves an ENOENT (seen in one of 15 starts). So
 * between the failed call and this one there must be no allocation, and there is none here once
 * {@linkcode libc} has been opened. Where errno lies is asked once: an isolate stays on its thread,
 * and loads this module for itself.
 */
export function errno(): number {
  errnoLocation ??= new Deno.UnsafePointerView(libc().__errno_location()!);
  return errnoLocation.getInt32();
}

/**
 * Turns -1 into an error.
 *
 * @param syscall C name, for the message
 * @param result of the call, passed in directly: `unwrap("close", libc().close(fd))`
 * @param subject what the call was about; a string that is there already, since making one, or an object
 * around it, is an allocation between the call and {@linkcode errno}
 * @returns `result`
 * @throws {SysError} when `result` is -1
 */
export function unwrap(syscall: string, result: number, subject?: string): number {
  if (result === -1) throw new SysError(syscall, errno(), { subject });
  return result;
}

/**
 * Closes a descriptor. Errors are ignored: Linux frees the number whatever close(2) answers, so
 * there is nothing a caller could do.
 */
export function closeDescriptor(fd: number): void {
  libc().close(fd);
}

/**
 * A NUL-terminated UTF-8 string off V8's heap, for `buffer` parameters.
 *
 * @throws {TypeError} when the text holds a NUL, which C would take for its end
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new TypeError(`text holds a NUL: ${JSON.stringify(text)}`);
  const utf8 = new TextEncoder().encode(text);
  const bytes = new Uint8Array(new ArrayBuffer(utf8.length + 1));
  bytes.set(utf8);
  return bytes;
}
