/**
 * rtnetlink: the kernel's tables of links, addresses, routes, neighbours and FDB entries; nfnetlink: IP sets and nftables' sets.
 *
 * @module
 */
export { BRIDGE, type BridgeAttributes } from "./objects/bridge.ts";
export type { BatchFailure, BatchResult } from "./batch.ts";
export { type InterfaceFilter, Netlink } from "./connection.ts";
export type { Destination } from "./objects/destination.ts";
export { DryRunNetlink, type PlannedChange, type TransmitChecksum } from "./dry_run.ts";
export type { Write } from "./wire/exchange.ts";
export { type IpsecPolicy, isProtected, readIpsecPolicies } from "./objects/ipsec_policy.ts";
export { type IpSetHeader, IpSets } from "./netfilter/ip_set.ts";
export { type LinkChange } from "./objects/link.ts";
export { formatMac, parseMac, randomMac } from "./wire/mac.ts";
export { LinkKind, type LinkKindCodec, type NewLink } from "./objects/link_kind.ts";
export { VETH, type VethAttributes } from "./objects/veth.ts";
export { VXLAN, type VxlanAttributes } from "./objects/vxlan.ts";
export { NetlinkFormatError } from "./wire/message.ts";
export { monitor, type MonitorGroup, type MonitorOptions } from "./monitor.ts";
export { type RouteFilter, type RouteLookup } from "./objects/route.ts";
export { type NftSetName, NftSets } from "./netfilter/nft_set.ts";
export * from "./netfilter/nft_message.ts";
export * from "./netfilter/nft_socket.ts";
export type * from "./netfilter/nft_trace.ts";
export { type LoggedPacket, PacketLogSocket, readLoggedPacket } from "./netfilter/packet_log.ts";
export { monitorRuleset } from "./netfilter/ruleset_monitor.ts";
export type { NetlinkSocketOptions } from "./wire/socket.ts";
export type { AttachedFilter, BpfFilter, FilterPlace } from "./objects/traffic_control.ts";
export type { Transport } from "./wire/transport.ts";
export type * from "./wire/types.ts";
