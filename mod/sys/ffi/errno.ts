/**
 * Error numbers of Linux and the error that carries them.
 *
 * @module
 */

/** Details of a {@linkcode SysError} beyond call and number. */
export interface SysErrorOptions extends ErrorOptions {
  /** The kernel's own explanation: netlink's NLMSGERR_ATTR_MSG, bpf's verifier log. */
  readonly detail?: string | undefined;
  /** The object of the call: a path, an interface, an address. */
  readonly subject?: string | undefined;
}

/**
 * A system call that failed.
 *
 * The message is one line for an operator:
 * `RTM_NEWROUTE 10.20.93.0/24: EHOSTUNREACH: no route to host (Nexthop has invalid gateway)`.
 */
export class SysError extends Error {
  override readonly name = "SysError";
  /** The call by its C name, or the netlink request by its RTM_ name. */
  readonly syscall: string;
  /** The number, positive. */
  readonly errno: number;
  /** The symbolic name, `EEXIST`; `E<number>` when the number has none. */
  readonly code: string;
  /** The kernel's own explanation, when it gave one. */
  readonly detail: string | undefined;

  constructor(syscall: string, errno: number, options: SysErrorOptions = {}) {
    const subject = options.subject === undefined ? "" : ` ${options.subject}`;
    const detail = options.detail === undefined ? "" : ` (${options.detail})`;
    super(`${syscall}${subject}: ${errnoCode(errno)}: ${errnoText(errno)}${detail}`, options);
    this.syscall = syscall;
    this.errno = errno;
    this.code = errnoCode(errno);
    this.detail = options.detail;
  }
}

/** The symbolic name of an error number: 17 is `EEXIST`. `E<number>` when it has none. */
export function errnoCode(errno: number): string {
  const entry = TABLE[errno];
  return entry ? entry.slice(0, entry.indexOf(" ")) : `E${errno}`;
}

/** The text of an error number, as strerror(3) words it, first letter in lower case. */
export function errnoText(errno: number): string {
  const entry = TABLE[errno];
  return entry ? entry.slice(entry.indexOf(" ") + 1) : "unknown error";
}

/**
 * By number, from asm-generic/errno-base.h and asm-generic/errno.h, which x86-64 and arm64 (all that
 * the runtime is built for) share. EWOULDBLOCK is EAGAIN, EDEADLOCK is EDEADLK, ENOTSUP is
 * EOPNOTSUPP. 41 and 58 are unused.
 */
const TABLE: readonly string[] = [
  "",
  "EPERM operation not permitted",
  "ENOENT no such file or directory",
  "ESRCH no such process",
  "EINTR interrupted system call",
  "EIO input/output error",
  "ENXIO no such device or address",
  "E2BIG argument list too long",
  "ENOEXEC exec format error",
  "EBADF bad file descriptor",
  "ECHILD no child processes",
  "EAGAIN resource temporarily unavailable",
  "ENOMEM cannot allocate memory",
  "EACCES permission denied",
  "EFAULT bad address",
  "ENOTBLK block device required",
  "EBUSY device or resource busy",
  "EEXIST file exists",
  "EXDEV invalid cross-device link",
  "ENODEV no such device",
  "ENOTDIR not a directory",
  "EISDIR is a directory",
  "EINVAL invalid argument",
  "ENFILE too many open files in system",
  "EMFILE too many open files",
  "ENOTTY inappropriate ioctl for device",
  "ETXTBSY text file busy",
  "EFBIG file too large",
  "ENOSPC no space left on device",
  "ESPIPE illegal seek",
  "EROFS read-only file system",
  "EMLINK too many links",
  "EPIPE broken pipe",
  "EDOM numerical argument out of domain",
  "ERANGE numerical result out of range",
  "EDEADLK resource deadlock avoided",
  "ENAMETOOLONG file name too long",
  "ENOLCK no locks available",
  "ENOSYS function not implemented",
  "ENOTEMPTY directory not empty",
  "ELOOP too many levels of symbolic links",
  "",
  "ENOMSG no message of desired type",
  "EIDRM identifier removed",
  "ECHRNG channel number out of range",
  "EL2NSYNC level 2 not synchronized",
  "EL3HLT level 3 halted",
  "EL3RST level 3 reset",
  "ELNRNG link number out of range",
  "EUNATCH protocol driver not attached",
  "ENOCSI no CSI structure available",
  "EL2HLT level 2 halted",
  "EBADE invalid exchange",
  "EBADR invalid request descriptor",
  "EXFULL exchange full",
  "ENOANO no anode",
  "EBADRQC invalid request code",
  "EBADSLT invalid slot",
  "",
  "EBFONT bad font file format",
  "ENOSTR device not a stream",
  "ENODATA no data available",
  "ETIME timer expired",
  "ENOSR out of streams resources",
  "ENONET machine is not on the network",
  "ENOPKG package not installed",
  "EREMOTE object is remote",
  "ENOLINK link has been severed",
  "EADV advertise error",
  "ESRMNT srmount error",
  "ECOMM communication error on send",
  "EPROTO protocol error",
  "EMULTIHOP multihop attempted",
  "EDOTDOT RFS specific error",
  "EBADMSG bad message",
  "EOVERFLOW value too large for defined data type",
  "ENOTUNIQ name not unique on network",
  "EBADFD file descriptor in bad state",
  "EREMCHG remote address changed",
  "ELIBACC can not access a needed shared library",
  "ELIBBAD accessing a corrupted shared library",
  "ELIBSCN .lib section in a.out corrupted",
  "ELIBMAX attempting to link in too many shared libraries",
  "ELIBEXEC cannot exec a shared library directly",
  "EILSEQ invalid or incomplete multibyte or wide character",
  "ERESTART interrupted system call should be restarted",
  "ESTRPIPE streams pipe error",
  "EUSERS too many users",
  "ENOTSOCK socket operation on non-socket",
  "EDESTADDRREQ destination address required",
  "EMSGSIZE message too long",
  "EPROTOTYPE protocol wrong type for socket",
  "ENOPROTOOPT protocol not available",
  "EPROTONOSUPPORT protocol not supported",
  "ESOCKTNOSUPPORT socket type not supported",
  "EOPNOTSUPP operation not supported",
  "EPFNOSUPPORT protocol family not supported",
  "EAFNOSUPPORT address family not supported by protocol",
  "EADDRINUSE address already in use",
  "EADDRNOTAVAIL cannot assign requested address",
  "ENETDOWN network is down",
  "ENETUNREACH network is unreachable",
  "ENETRESET network dropped connection on reset",
  "ECONNABORTED software caused connection abort",
  "ECONNRESET connection reset by peer",
  "ENOBUFS no buffer space available",
  "EISCONN transport endpoint is already connected",
  "ENOTCONN transport endpoint is not connected",
  "ESHUTDOWN cannot send after transport endpoint shutdown",
  "ETOOMANYREFS too many references: cannot splice",
  "ETIMEDOUT connection timed out",
  "ECONNREFUSED connection refused",
  "EHOSTDOWN host is down",
  "EHOSTUNREACH no route to host",
  "EALREADY operation already in progress",
  "EINPROGRESS operation now in progress",
  "ESTALE stale file handle",
  "EUCLEAN structure needs cleaning",
  "ENOTNAM not a XENIX named type file",
  "ENAVAIL no XENIX semaphores available",
  "EISNAM is a named type file",
  "EREMOTEIO remote I/O error",
  "EDQUOT disk quota exceeded",
  "ENOMEDIUM no medium found",
  "EMEDIUMTYPE wrong medium type",
  "ECANCELED operation canceled",
  "ENOKEY required key not available",
  "EKEYEXPIRED key has expired",
  "EKEYREVOKED key has been revoked",
  "EKEYREJECTED key was rejected by service",
  "EOWNERDEAD owner died",
  "ENOTRECOVERABLE state not recoverable",
  "ERFKILL operation not possible due to RF-kill",
  "EHWPOISON memory page has hardware error",
];

/** Numbers that callers compare with. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EROFS: 30,
  ENOSYS: 38,
  EBADFD: 77,
  ENOTSOCK: 88,
  EMSGSIZE: 90,
  ENOPROTOOPT: 92,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  EHOSTUNREACH: 113,
} as const;
