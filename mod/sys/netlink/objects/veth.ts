import type { Mac } from "../wire/types.ts";
import { IFINFOMSG_LENGTH, IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU } from "./link.ts";
import { LinkKind } from "./link_kind.ts";

/** linux/veth.h: holds a struct ifinfomsg and IFLA_* attributes of the other end. */
const VETH_INFO_PEER = 1;

/** linux/if_link.h */
const IFLA_NET_NS_FD = 28;

/** The other end of a veth to be created; the kernel reports none of it. */
export interface VethAttributes {
  readonly peerName: string;
  /** Bytes. */
  readonly peerMtu: number;
  readonly peerMac: Mac;
  /** Descriptor of the network namespace that the other end is created in. @default the first end's */
  readonly peerNamespace: number;
}

/** Kind of veth pairs. */
export const VETH = new LinkKind<VethAttributes>({
  name: "veth",
  encode(writer, { peerName, peerMtu, peerMac, peerNamespace }) {
    const peer = writer.beginNested(VETH_INFO_PEER);
    writer.zeros(IFINFOMSG_LENGTH);
    if (peerMtu !== undefined) writer.attributeU32(IFLA_MTU, peerMtu);
    if (peerMac !== undefined) writer.attributeMac(IFLA_ADDRESS, peerMac);
    if (peerNamespace !== undefined) writer.attributeU32(IFLA_NET_NS_FD, peerNamespace);
    if (peerName !== undefined) writer.attributeString(IFLA_IFNAME, peerName);
    writer.endNested(peer);
  },
  decode: () => ({ peerName: "", peerMtu: 0, peerMac: "", peerNamespace: 0 }),
  describe: () => [],
});
