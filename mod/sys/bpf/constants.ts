/**
 * Names and numbers of linux/bpf.h, as much of them as the project uses. Where a number came later
 * than Linux 5.10, the comment has the version.
 *
 * @module
 */

/** `enum bpf_cmd`. */
export const Command = {
  BPF_MAP_CREATE: 0,
  BPF_MAP_LOOKUP_ELEM: 1,
  BPF_MAP_UPDATE_ELEM: 2,
  BPF_MAP_DELETE_ELEM: 3,
  BPF_MAP_GET_NEXT_KEY: 4,
  BPF_PROG_LOAD: 5,
  BPF_OBJ_PIN: 6,
  BPF_OBJ_GET: 7,
  BPF_PROG_TEST_RUN: 10,
  BPF_PROG_GET_FD_BY_ID: 13,
  BPF_OBJ_GET_INFO_BY_FD: 15,
  BPF_RAW_TRACEPOINT_OPEN: 17,
  BPF_MAP_FREEZE: 22,
  BPF_LINK_CREATE: 28,
  BPF_LINK_UPDATE: 29,
  BPF_LINK_DETACH: 34,
} as const;

/** Name of a command. */
export type CommandName = keyof typeof Command;

/** `enum bpf_map_type`. */
export const MapType = {
  BPF_MAP_TYPE_HASH: 1,
  BPF_MAP_TYPE_ARRAY: 2,
  BPF_MAP_TYPE_PERCPU_HASH: 5,
  BPF_MAP_TYPE_PERCPU_ARRAY: 6,
  BPF_MAP_TYPE_LPM_TRIE: 11,
} as const;

/** Name of a map type. */
export type MapTypeName = keyof typeof MapType;

/** Elements are allocated as they are added; an LPM trie requires it. */
export const BPF_F_NO_PREALLOC = 1;

/** `enum bpf_prog_type`. */
export const ProgramType = {
  /** Classifier of traffic control. */
  BPF_PROG_TYPE_SCHED_CLS: 3,
  BPF_PROG_TYPE_RAW_TRACEPOINT: 17,
} as const;

/** Name of a program type. */
export type ProgramTypeName = keyof typeof ProgramType;

/** `enum bpf_attach_type`, Linux 6.6. */
export const AttachType = { BPF_TCX_INGRESS: 46, BPF_TCX_EGRESS: 47 } as const;

/** `enum bpf_link_type`, Linux 6.6. */
export const BPF_LINK_TYPE_TCX = 11;

/** `enum bpf_func_id`: what a program can call. Arguments go in R1 to R5, the result comes in R0. */
export const Helper = {
  /** (map, key pointer): pointer to the value or NULL. */
  map_lookup_elem: 1,
  get_prandom_u32: 7,
  /** (): the calling task's thread group in the upper 32 bits, its thread in the lower */
  /** (skb, offset, pointer, length, flags) */
  skb_store_bytes: 9,
  /** (skb, ifindex, flags): also in a test run a copy goes out, or comes in. */
  clone_redirect: 13,
  /** (ifindex, flags) */
  redirect: 23,
  /** (skb, offset, pointer, length) */
  skb_load_bytes: 26,
  /** (skb, PACKET_* of linux/if_packet.h) */
  skb_change_type: 32,
  /** (skb, length) */
  skb_pull_data: 39,
  /** (skb, head room, flags) */
  skb_change_head: 43,
  /** (skb, difference, mode, flags) */
  skb_adjust_room: 50,
  /** (skb, parameters, their length, flags): a {@linkcode FibResult}, or less than 0. */
  fib_lookup: 69,
  /** (skb, tuple, its length, network namespace, flags): a socket to be released, or NULL. */
  sk_lookup_udp: 85,
  /** (socket) */
  sk_release: 86,
  /** (skb, socket, flags): the stack gives the packet to that socket. */
  sk_assign: 124,
  /** (skb, ifindex, pointer to the MTU, difference, flags); Linux 5.12 */
  check_mtu: 163,
  /** (ifindex, parameters, their length, flags) */
  redirect_neigh: 152,
} as const;

/** Name of a helper. */
export type HelperName = keyof typeof Helper;

/** Flag of skb_store_bytes: skb->csum follows the bytes. */
export const BPF_F_RECOMPUTE_CSUM = 1;
/** Flag of redirect: to the receiving side of the interface. */
export const BPF_F_INGRESS = 1;
/** Flag of fib_lookup: as for a packet that leaves by the interface that is given. */
export const BPF_FIB_LOOKUP_OUTPUT = 2;
/** `BPF_FIB_LKUP_RET_*`: results of fib_lookup. */
export const FibResult = {
  SUCCESS: 0,
  /** There is a way, but the next hop's address on the link is not known yet. */
  NO_NEIGH: 7,
  FRAG_NEEDED: 8,
} as const;
/** Network namespace of sk_lookup_udp: that of the packet's interface. */
export const BPF_F_CURRENT_NETNS = -1;
/** Mode of skb_adjust_room: behind the link layer's header. */
export const BPF_ADJ_ROOM_MAC = 1;
/** Flags of skb_adjust_room. */
export const BPF_F_ADJ_ROOM_FIXED_GSO = 1;
export const BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 = 2;
export const BPF_F_ADJ_ROOM_ENCAP_L4_UDP = 16;

/** Verdicts of a classifier in direct-action mode (linux/pkt_cls.h; for TCX the same numbers). */
export const Verdict = {
  /** The next program, or the stack when there is none. */
  TC_ACT_UNSPEC: -1,
  /** The stack, past what programs there are yet. */
  TC_ACT_OK: 0,
  TC_ACT_SHOT: 2,
  TC_ACT_REDIRECT: 7,
} as const;

/** Offsets in `struct __sk_buff`, in bytes; each member is a u32 in host order but for `protocol`. */
export const SkBuff = {
  len: 0,
  /** PACKET_* of linux/if_packet.h; 0 is "to us". */
  pkt_type: 4,
  /** In network order. */
  protocol: 16,
  vlan_present: 20,
  data: 76,
  data_end: 80,
  gso_size: 176,
} as const;
