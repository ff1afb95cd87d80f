import { InterfaceError } from "../../host/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Check, ok, problem, warning } from "../check.ts";

/** Which interface carries packets between hosts, and why? Vagrant's NAT is the guide's second error. */
export const interfaceCheck: Check = {
  id: "interface",
  title: "the interface to the other hosts",
  run(host) {
    const cure = [
      'name it: FLANNEL_OPTIONS="-iface=eth1" in /etc/sysconfig/flanneld, then systemctl restart flanneld',
    ];
    try {
      const { external, steps, warning: reason } = host.interfaceChoice();
      const { name, address, publicIP, mtu } = external;
      const advertised = publicIP === address ? "" : `, public IP ${formatIPv4(publicIP)}`;
      if (reason !== undefined) return warning(reason, { evidence: steps, cure });
      return ok(`${name}, ${formatIPv4(address)}${advertised}, MTU ${mtu}`, steps);
    } catch (error) {
      if (!(error instanceof InterfaceError)) throw error;
      return problem(error.message, { cure });
    }
  },
};
