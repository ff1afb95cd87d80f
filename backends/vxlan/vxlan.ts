import { info } from "../../mod/observe/mod.ts";
import { randomMac, VXLAN, type VxlanAttributes } from "../../mod/sys/mod.ts";
import { truncate } from "../../mod/text/mod.ts";
import { fixedBy } from "../backend.ts";
import { reconciledBackend } from "../reconciled/backend.ts";
import { peerRoute, SHOWN } from "../reconciled/driver.ts";

import { wantedTxChecksum } from "./checksum.ts";
import { mismatch } from "./mismatch.ts";
import { vxlanOptions } from "./options.ts";
import { vtepArbiter } from "./vtep_holders.ts";
import { vtepMac } from "./vtep_mac.ts";
import { IPPROTO_UDP, NUD_PERMANENT } from "../../mod/sys/linux_constants.ts";

/** Bytes of vxlan (8) and Ethernet (14) headers between the UDP header and the packet. */
const HEADERS = 22;

/**
 * VXLAN in the kernel. A peer has a permanent neighbour and FDB entry and an onlink route, newer flannel's layout,
 * which needs no daemon to answer misses. The peer's VTEP answers for the subnet's base address, whichever flannel
 * it runs.
 */
export const vxlanBackend = reconciledBackend({
  type: "vxlan",
  readOptions: vxlanOptions,
  resources: ({ config, external }) => [
    `VNI ${vxlanOptions(config.backend.options, external.mtu).vni}`,
  ],
  deviceNumber: (link) => link.name === `flannel.${VXLAN.of(link)?.vni}` ? 0 : undefined,
  checkHost({ vxlan }) {
    const release = Deno.osRelease();
    const { txChecksum = "auto" } = vxlan ?? {};
    if (txChecksum === "auto" && wantedTxChecksum(txChecksum, release) === false) {
      info(
        `Linux ${release} may compute wrong checksums of encapsulated packets that are masqueraded; ` +
          `going without tx-checksum-ip-generic (-vxlan-tx-checksum=on keeps it)`,
      );
    }
  },
  driver({ external, formerData, vxlan: flags }, { vni, port, gbp, learning, ...options }) {
    const name = `flannel.${vni}`;
    const attributes = { vni, link: external.index, local: external.address, port, gbp, learning };
    return {
      ...options,
      device: {
        ...{ name, mtu: options.mtu, kind: VXLAN, attributes },
        mac: vtepMac(formerData) ?? randomMac(),
        txChecksum: wantedTxChecksum(flags?.txChecksum ?? "auto", Deno.osRelease()),
        mismatch: (actual: VxlanAttributes) => mismatch(actual, attributes),
      },
      encapsulation: { protocol: IPPROTO_UDP, port, headers: HEADERS },
      // The kernel's vxlan drops the outer source before anybody can compare it with the inner one.
      sourceCheck: {
        ...{ port, by: "firewall" },
        fixed: fixedBy("-vxlan-strict-source", flags?.strictSource),
      },
      arbiter: vtepArbiter(),
      refusal({ attributes: { backendData } }, context) {
        const mac = vtepMac(backendData);
        if (mac === undefined) {
          const data = JSON.stringify(backendData) ?? "nothing";
          return `has no usable VtepMAC in its BackendData (${truncate(data, SHOWN)})`;
        }
        return mac === context.mac ? `has our own VTEP MAC ${mac}` : undefined;
      },
      desired(lease, context) {
        const { device: index } = context;
        const { subnet: { address }, attributes: { backendData, publicIP } } = lease;
        const mac = vtepMac(backendData)!;
        return {
          neighbour: { index, address, mac, state: NUD_PERMANENT },
          fdb: { index, mac, destination: publicIP, state: NUD_PERMANENT },
          route: peerRoute(lease, context, "device", address),
        };
      },
      leaseData: (form, { mac }) =>
        form === "v0.7" ? { VtepMAC: mac! } : { VNI: vni, VtepMAC: mac! },
      foreignLeaseReason(lease, device) {
        const mac = vtepMac(lease.attributes.backendData);
        if (mac === undefined || mac === device.mac) return undefined;
        return `its VTEP MAC is ${mac}, that of our ${name} is ${device.mac}`;
      },
    };
  },
});
