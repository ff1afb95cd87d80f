/**
 * rtnetlink: the kernel's tables of links, addresses, routes, neighbours and FDB entries; nfnetlink: IP sets and nftables' sets.
 *
 * @module
 */
export type { BatchFailure, BatchResult } from "./batch.ts";
export { type InterfaceFilter, Netlink } from "./connection.ts";
export type { Destination } from "./destination.ts";
export { DryRunNetlink, type PlannedChange, type TransmitChecksum } from "./dry_run.ts";
export type { Write } from "./exchange.ts";
export { type IpsecPolicy, isProtected, readIpsecPolicies } from "./ipsec_policy.ts";
export { type IpSetHeader, IpSets } from "./ip_set.ts";
export { IFF_UP, type LinkChange } from "./link.ts";
export { formatMac, parseMac, randomMac } from "./mac.ts";
export { NetlinkFormatError } from "./message.ts";
export { monitor, type MonitorGroup, type MonitorOptions } from "./monitor.ts";
export { type RouteFilter, type RouteLookup, RT_TABLE_MAIN } from "./route.ts";
export { type NftSetName, NftSets } from "./nft_set.ts";
export * from "./nft_message.ts";
export * from "./nft_socket.ts";
export type * from "./nft_trace.ts";
export { type LoggedPacket, PacketLogSocket, readLoggedPacket } from "./packet_log.ts";
export { monitorRuleset } from "./ruleset_monitor.ts";
export type { NetlinkSocketOptions } from "./socket.ts";
export type { AttachedFilter, BpfFilter, FilterPlace } from "./traffic_control.ts";
export type { Transport } from "./transport.ts";
export type * from "./types.ts";
