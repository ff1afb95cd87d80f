import { formatIPv4, type IPv4 } from "../../../ip/mod.ts";
import { LinkKind } from "./link_kind.ts";

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_L2MISS = 13;
const IFLA_VXLAN_L3MISS = 14;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GBP = 23;

/** IFLA_VXLAN_* of linux/if_link.h. */
export interface VxlanAttributes {
  readonly vni: number;
  /** Index of the device that encapsulated packets leave by; 0 when none. */
  readonly link: number;
  /** Source of encapsulated packets; without it the device takes packets to any address. */
  readonly local?: IPv4;
  /** Multicast group or default destination. */
  readonly group?: IPv4;
  /** UDP destination port, host order. */
  readonly port: number;
  readonly learning: boolean;
  readonly gbp: boolean;
  readonly l2miss: boolean;
  readonly l3miss: boolean;
}

/** Kind of vxlan devices. */
export const VXLAN = new LinkKind<VxlanAttributes>({
  name: "vxlan",
  encode(writer, { vni = 0, link = 0, local, port = 0, ...rest }) {
    if (link !== 0) writer.attributeU32(IFLA_VXLAN_LINK, link);
    if (rest.gbp) writer.attributeFlag(IFLA_VXLAN_GBP);
    writer.attributeU32(IFLA_VXLAN_ID, vni);
    if (local !== undefined) writer.attributeIPv4(IFLA_VXLAN_LOCAL, local);
    if (rest.group !== undefined) writer.attributeIPv4(IFLA_VXLAN_GROUP, rest.group);
    writer.attributeU8(IFLA_VXLAN_LEARNING, rest.learning ? 1 : 0);
    if (rest.l2miss) writer.attributeU8(IFLA_VXLAN_L2MISS, 1);
    if (rest.l3miss) writer.attributeU8(IFLA_VXLAN_L3MISS, 1);
    writer.attributePort(IFLA_VXLAN_PORT, port);
  },
  decode(data) {
    const vxlan: { -readonly [Key in keyof VxlanAttributes]: VxlanAttributes[Key] } = {
      ...{ vni: 0, link: 0, port: 0 },
      ...{ learning: false, gbp: false, l2miss: false, l3miss: false },
    };
    while (data.next()) {
      switch (data.type) {
        case IFLA_VXLAN_ID:
          vxlan.vni = data.u32();
          break;
        case IFLA_VXLAN_LINK:
          vxlan.link = data.u32();
          break;
        case IFLA_VXLAN_LOCAL:
          vxlan.local = data.ipv4();
          break;
        case IFLA_VXLAN_GROUP:
          vxlan.group = data.ipv4();
          break;
        case IFLA_VXLAN_PORT:
          vxlan.port = data.port();
          break;
        case IFLA_VXLAN_LEARNING:
          vxlan.learning = data.u8() !== 0;
          break;
        case IFLA_VXLAN_L2MISS:
          vxlan.l2miss = data.u8() !== 0;
          break;
        case IFLA_VXLAN_L3MISS:
          vxlan.l3miss = data.u8() !== 0;
          break;
        case IFLA_VXLAN_GBP:
          vxlan.gbp = true;
          break;
      }
    }
    return vxlan;
  },
  describe: ({ vni, local, link, port, learning, gbp }, nameOf) => [
    `id ${vni}`,
    ...(local === undefined ? [] : [`local ${formatIPv4(local)}`]),
    ...(link === 0 ? [] : [`dev ${nameOf(link)}`]),
    ...[`dstport ${port}`, learning ? "learning" : "nolearning"],
    ...(gbp ? ["gbp"] : []),
  ],
});
