import { readSysctl } from "../../host/mod.ts";
import { type Check, ok, warning } from "../check.ts";

const PARAMETER = "net/bridge/bridge-nf-call-iptables";
/** Bridges of Docker and of flannel's CNI plugin. */
const BRIDGES = ["docker0", "cni0"];

/**
 * Checks whether rules see packets on a container bridge. Docker's rules (published ports, icc=false) and those of
 * Kubernetes' Services need that.
 */
export const bridgeNetfilterCheck: Check = {
  id: "bridge-netfilter",
  title: "firewall rules see packets on container bridges",
  run(host) {
    const bridge = BRIDGES.find((name) => host.netlink.link(name)?.kind === "bridge");
    if (bridge === undefined) return ok("there is no container bridge on this host");
    const value = readSysctl(PARAMETER);
    if (value === "1") return ok(`${PARAMETER} is 1`);
    return warning(
      value === undefined ? "the module br_netfilter is not loaded" : `${PARAMETER} is ${value}`,
      {
        evidence: [
          `rules do not see packets between containers on ${bridge}: published ports reached from ` +
          "the same host, icc=false and Kubernetes' Services may not work",
        ],
        fix: [
          ...(value === undefined ? ["modprobe br_netfilter"] : []),
          `sysctl -w ${PARAMETER}=1`,
        ],
      },
    );
  },
};
