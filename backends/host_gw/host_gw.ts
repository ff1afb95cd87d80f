import { ConfigError } from "../../mod/config/mod.ts";
import { formatIPv4 } from "../../mod/ip/mod.ts";
import { reconciledBackend } from "../reconciled/backend.ts";
import { isOnLink } from "../reconciled/direct_peers.ts";
import { peerRoute } from "../reconciled/driver.ts";

/** Plain routes between hosts on one link: nothing is encapsulated. */
export const hostGwBackend = reconciledBackend({
  type: "host-gw",
  readOptions: (_options, interfaceMtu) => ({ mtu: interfaceMtu }),
  checkHost({ external }) {
    if (external.publicIP === external.address) return;
    throw new ConfigError(
      `your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is ` +
        `not supported by host-gw backend (public IP ${formatIPv4(external.publicIP)}, ` +
        `${external.name} has ${formatIPv4(external.address)}; vxlan and udp work behind a NAT)`,
    );
  },
  driver: (_context, { mtu }) => ({
    mtu,
    needsLink: true,
    refusal({ attributes: { publicIP } }, { external, link }) {
      if (isOnLink(publicIP, link)) return undefined;
      return `has public IP ${
        formatIPv4(publicIP)
      }, which is not on the link of ${external.name} ` +
        `(${link.join(", ")}): host-gw needs all hosts on one link, vxlan does not`;
    },
    desired: (lease, context) => ({ route: peerRoute(lease, context, "external") }),
  }),
});
