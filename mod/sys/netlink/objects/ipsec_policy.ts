/**
 * NETLINK_XFRM: the kernel's IPsec policies (linux/xfrm.h). Addresses, ports and marks' masks are in network order
 * where the kernel has them so; priorities and indices are in host order.
 *
 * @module
 */
import { type IPv4, Prefix } from "../../../ip/mod.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import { Sequence } from "../batch.ts";
import { Exchange } from "../wire/exchange.ts";
import { AttributeCursor, type MessageCursor } from "../wire/message.ts";
import { MessageWriter } from "../wire/message_writer.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "../wire/socket.ts";
import { AF_INET } from "../../linux_constants.ts";

/** linux/netlink.h */
const NETLINK_XFRM = 6;

const XFRM_MSG_NEWPOLICY = 0x13;
const XFRM_MSG_GETPOLICY = 0x15;
/** struct xfrm_userpolicy_id, which a dump leaves empty, in bytes. */
const POLICY_ID_LENGTH = 64;
/** struct xfrm_userpolicy_info, in bytes, and offsets in it; its selector comes first. */
const POLICY_INFO_LENGTH = 168;
const Info = {
  Destination: 0,
  Source: 16,
  DestinationPort: 32,
  SourcePort: 36,
  Family: 40,
  DestinationLength: 42,
  SourceLength: 43,
  Protocol: 44,
  Priority: 152,
  Direction: 160,
  Action: 161,
} as const;

const XFRMA_TMPL = 5;
const XFRMA_MARK = 21;
const XFRMA_IF_ID = 31;
const XFRM_POLICY_ALLOW = 0;
/** By XFRM_POLICY_IN, XFRM_POLICY_OUT and XFRM_POLICY_FWD. */
const DIRECTIONS = ["in", "out", "forward"] as const;

/** A port and the bits of it that count; the mask 0 takes any. */
export interface PortMatch {
  readonly port: number;
  readonly mask: number;
}

/** An IPv4 policy that packets without a mark, on no xfrm interface, are compared with. */
export interface IpsecPolicy {
  readonly direction: typeof DIRECTIONS[number];
  readonly source: Prefix;
  readonly destination: Prefix;
  /** IANA's number; 0 takes any. */
  readonly protocol: number;
  readonly sourcePort: PortMatch;
  readonly destinationPort: PortMatch;
  /** The policy with the lowest number decides. */
  readonly priority: number;
  /** True for a policy that transforms or blocks packets; false for one that lets them through as they are. */
  readonly applies: boolean;
}

/** A packet as policies see it. Ports are the transport protocol's. */
export interface PolicyPacket {
  readonly direction: IpsecPolicy["direction"];
  readonly source: IPv4;
  readonly destination: IPv4;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/**
 * Reads the IPsec policies of a network namespace: three system calls to open, two to read some hundred.
 *
 * @returns none where the kernel is built without XFRM
 * @throws {SysError} EPERM without CAP_NET_ADMIN
 */
export function readIpsecPolicies(options: NetlinkSocketOptions = {}): IpsecPolicy[] {
  let socket: NetlinkSocket;
  try {
    socket = NetlinkSocket.open(options, NETLINK_XFRM);
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.EPROTONOSUPPORT) return [];
    throw error;
  }
  using transport = socket;
  return new Exchange(transport, new Sequence(), new MessageWriter()).dump(
    { name: "XFRM_MSG_GETPOLICY" },
    writePolicyQuery,
    XFRM_MSG_NEWPOLICY,
    readPolicy,
  );
}

/** Asks for all policies. */
function writePolicyQuery(writer: MessageWriter, flags: number, sequence: number): void {
  writer.begin(XFRM_MSG_GETPOLICY, flags, sequence);
  for (let i = 0; i < POLICY_ID_LENGTH; i += 4) writer.u32(0);
  writer.end();
}

/** Reads an XFRM_MSG_NEWPOLICY; `undefined` for a policy that is no {@linkcode IpsecPolicy}. */
export function readPolicy(
  { view, bodyStart: at, bodyEnd }: MessageCursor,
): IpsecPolicy | undefined {
  if (bodyEnd - at < POLICY_INFO_LENGTH) return undefined;
  const direction = DIRECTIONS[view.getUint8(at + Info.Direction)];
  if (direction === undefined || view.getUint16(at + Info.Family, true) !== AF_INET) {
    return undefined;
  }
  let hasTemplates = false;
  const attributes = new AttributeCursor().enter(view, at + POLICY_INFO_LENGTH, bodyEnd);
  while (attributes.next()) {
    switch (attributes.type) {
      case XFRMA_TMPL:
        hasTemplates = true;
        break;
      // struct xfrm_mark begins with the value that a packet's masked mark has to have.
      case XFRMA_MARK:
      case XFRMA_IF_ID:
        if (attributes.u32() !== 0) return undefined;
        break;
    }
  }
  const prefix = (address: number, length: number) =>
    new Prefix(view.getUint32(at + address, false), Math.min(32, view.getUint8(at + length)));
  const portMatch = (offset: number): PortMatch => ({
    port: view.getUint16(at + offset, false),
    mask: view.getUint16(at + offset + 2, false),
  });
  return {
    direction,
    source: prefix(Info.Source, Info.SourceLength),
    destination: prefix(Info.Destination, Info.DestinationLength),
    protocol: view.getUint8(at + Info.Protocol),
    sourcePort: portMatch(Info.SourcePort),
    destinationPort: portMatch(Info.DestinationPort),
    priority: view.getUint32(at + Info.Priority, true),
    applies: hasTemplates || view.getUint8(at + Info.Action) !== XFRM_POLICY_ALLOW,
  };
}

/**
 * Returns whether IPsec transforms or blocks a packet: the matching policy with the lowest priority number
 * decides; of equal ones, one that applies.
 */
export function isProtected(policies: readonly IpsecPolicy[], packet: PolicyPacket): boolean {
  let deciding: IpsecPolicy | undefined;
  for (const policy of policies) {
    if (!matches(policy, packet)) continue;
    const isFirst = deciding === undefined || policy.priority < deciding.priority ||
      policy.priority === deciding.priority && policy.applies;
    if (isFirst) deciding = policy;
  }
  return deciding?.applies === true;
}

function matches(policy: IpsecPolicy, packet: PolicyPacket): boolean {
  return policy.direction === packet.direction &&
    (policy.protocol === 0 || policy.protocol === packet.protocol) &&
    policy.source.contains(packet.source) && policy.destination.contains(packet.destination) &&
    isPort(policy.sourcePort, packet.sourcePort) &&
    isPort(policy.destinationPort, packet.destinationPort);
}

function isPort(match: PortMatch, port: number): boolean {
  return ((port ^ match.port) & match.mask) === 0;
}
