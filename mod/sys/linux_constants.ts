/**
 * Numbers of the kernel's interface that more than one file needs. Each group names its header below
 * `include/uapi` of Linux. They hold on x86-64 and arm64, all that the runtime is built for.
 *
 * @module
 */

// asm-generic/fcntl.h
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

// linux/socket.h and linux/net.h, of which glibc's bits/socket.h has the values.
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = O_NONBLOCK;
export const SOCK_CLOEXEC = O_CLOEXEC;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const SOL_IP = 0;

// asm-generic/socket.h
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
/** As SO_SNDBUF, over net.core.wmem_max; needs CAP_NET_ADMIN. */
export const SO_SNDBUFFORCE = 32;
/** As SO_RCVBUF, over net.core.rmem_max; needs CAP_NET_ADMIN. */
export const SO_RCVBUFFORCE = 33;

// linux/in.h
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IP_MTU_DISCOVER = 10;
/** struct sockaddr_in: u16 family, be16 port, be32 address, 8 bytes of padding. */
export const SOCKADDR_IN_LENGTH = 16;

// linux/if.h
export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
/** Bytes of a device's name, with its NUL. */
export const IFNAMSIZ = 16;
/** struct ifreq: char name[16], then a union of 24 bytes. */
export const IFREQ_LENGTH = 40;

// linux/if_tun.h
/** Packets come without a header of the driver's own. */
export const IFF_NO_PI = 0x1000;

// linux/if_ether.h
/** struct ethhdr: destination, source, EtherType. */
export const ETH_HLEN = 14;
export const ETH_P_IP = 0x0800;

// linux/if_addr.h
/** The address has no lifetime: it is not from DHCP or the like. */
export const IFA_F_PERMANENT = 0x80;

// linux/rtnetlink.h
export const RT_TABLE_MAIN = 254;
/** Routes that come and go with an address. */
export const RTPROT_KERNEL = 2;
/** Routes of `ip route add`, of flannel and of other programs that name no protocol. */
export const RTPROT_BOOT = 3;
export const RT_SCOPE_UNIVERSE = 0;
/** The destination is reached without a gateway. */
export const RT_SCOPE_LINK = 253;

// linux/neighbour.h
/** The entry is never probed, and never ages. */
export const NUD_PERMANENT = 0x80;
