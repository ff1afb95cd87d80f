import { type Check, ok, problem } from "../check.ts";
import { forwardingOf } from "../forwarding.ts";

/** Checks that the kernel forwards: packets between containers and the tunnel are forwarded packets. */
export const forwardingCheck: Check = {
  id: "forwarding",
  title: "the kernel forwards packets",
  async run(host) {
    const { isOn, names, off } = await forwardingOf(host);
    if (!isOn) {
      return problem("net.ipv4.ip_forward is 0: nothing gets from containers to other hosts", {
        fix: [
          "sysctl -w net.ipv4.ip_forward=1",
          "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/50-flannel.conf   # for the next boot",
        ],
      });
    }
    if (off.length === 0) return ok(`net.ipv4.ip_forward is 1, on ${names.join(", ")} too`);
    return problem(`forwarding is off on single interfaces: ${off.join(", ")}`, {
      fix: off.map((parameter) => `sysctl -w ${parameter}=1`),
    });
  },
};
