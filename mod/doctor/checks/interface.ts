import { InterfaceError } from "../../host/mod.ts";
import { formatIPv4 } from "../../ip/mod.ts";
import { type Check, ok, problem, warning } from "../check.ts";

/** Reports the interface that carries packets between hosts. Vagrant's NAT is the guide's second error. */
export const interfaceCheck: Check = {
  id: "interface",
  title: "the interface to the other hosts",
  run(host) {
    const fix = [
      'name it: FLANNEL_OPTIONS="-iface=eth1" in /etc/sysconfig/flanneld, then systemctl restart flanneld',
    ];
    try {
      const { external, steps, warning: reason } = host.interfaceChoice();
      const { name, address, publicIP, mtu } = external;
      const advertised = publicIP === address ? "" : `, public IP ${formatIPv4(publicIP)}`;
      if (reason !== undefined) return warning(reason, { evidence: steps, fix });
      return ok(`${name}, ${formatIPv4(address)}${advertised}, MTU ${mtu}`, steps);
    } catch (error) {
      if (!(error instanceof InterfaceError)) throw error;
      return problem(error.message, { fix });
    }
  },
};
