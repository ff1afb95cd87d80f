import { formatIPv4, type IPv4 } from "../../mod/ip/mod.ts";
import { LinkKind } from "../../mod/sys/mod.ts";

const IFLA_IPTUN_LOCAL = 2;
const IFLA_IPTUN_REMOTE = 3;

/** IFLA_IPTUN_* of linux/if_tunnel.h. */
export interface IpipAttributes {
  /** Source of encapsulated packets. */
  readonly local?: IPv4;
  /** The only other end; without it the gateway of each route is. */
  readonly remote?: IPv4;
}

/** Kind of IPv4 in IPv4 tunnels (RFC 2003). */
export const IPIP = new LinkKind<IpipAttributes>({
  name: "ipip",
  encode(writer, { local, remote }) {
    if (local !== undefined) writer.attributeIPv4(IFLA_IPTUN_LOCAL, local);
    if (remote !== undefined) writer.attributeIPv4(IFLA_IPTUN_REMOTE, remote);
  },
  decode(data) {
    const ends: { local?: IPv4; remote?: IPv4 } = {};
    while (data.next()) {
      // The kernel reports an absent end as 0.0.0.0.
      if (data.type === IFLA_IPTUN_LOCAL && data.ipv4() !== 0) ends.local = data.ipv4();
      if (data.type === IFLA_IPTUN_REMOTE && data.ipv4() !== 0) ends.remote = data.ipv4();
    }
    return ends;
  },
  describe: ({ local, remote }) => [`remote ${formatEnd(remote)}`, `local ${formatEnd(local)}`],
});

/** Returns an end of a tunnel in the words of ip-link(8). */
export function formatEnd(address: IPv4 | undefined): string {
  return address === undefined ? "any" : formatIPv4(address);
}
