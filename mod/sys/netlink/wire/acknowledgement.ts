import {
  AttributeCursor,
  HEADER_LENGTH,
  type MessageCursor,
  NetlinkFormatError,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
} from "./message.ts";

/** linux/netlink.h: the reason in words. */
const NLMSGERR_ATTR_MSG = 1;

/**
 * The error number in an NLMSG_ERROR (struct nlmsgerr) or NLMSG_DONE: positive, 0 for success.
 */
export function acknowledgedErrno(message: MessageCursor): number {
  // NLMSG_DONE of old kernels may come without the number.
  if (message.bodyEnd - message.bodyStart < 4) return 0;
  return -message.view.getInt32(message.bodyStart, true);
}

/**
 * The kernel's words for the error (NETLINK_EXT_ACK, Linux 4.12), when it has any.
 *
 * @throws {NetlinkFormatError} when the request that it quotes points outside the message
 */
export function acknowledgedReason(message: MessageCursor): string | undefined {
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return undefined;
  const { view } = message;
  let at = message.fixedPart(4) + 4;
  if (message.type === NLMSG_ERROR) {
    // The request follows the number: its header alone when capped, else all of it.
    message.fixedPart(4 + HEADER_LENGTH);
    const length = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_LENGTH : view.getUint32(at, true);
    if (length > message.bodyEnd - at) {
      throw new NetlinkFormatError(`acknowledged request of ${length} bytes`);
    }
    at += (length + 3) & ~3;
  }
  const attributes = new AttributeCursor().enter(view, at, message.bodyEnd);
  while (attributes.next()) {
    if (attributes.type === NLMSGERR_ATTR_MSG) return attributes.string();
  }
  return undefined;
}
