import { readSysctl } from "../../host/mod.ts";
import { type Check, ok, problem } from "../check.ts";

/** Does the kernel forward? Packets between containers and the tunnel are forwarded ones. */
export const forwardingCheck: Check = {
  id: "forwarding",
  title: "the kernel forwards packets",
  async run(host) {
    if (readSysctl("net/ipv4/ip_forward") !== "1") {
      return problem("net.ipv4.ip_forward is 0: nothing gets from containers to other hosts", {
        cure: [
          "sysctl -w net.ipv4.ip_forward=1",
          "echo net.ipv4.ip_forward=1 > /etc/sysctl.d/50-flannel.conf   # for the next boot",
        ],
      });
    }
    const { device } = await host.tunnel();
    const names = [device, "docker0", host.external().name]
      .filter((name) => name !== undefined && host.netlink.link(name) !== undefined);
    const off = names.map((name) => `net/ipv4/conf/${name}/forwarding`)
      .filter((parameter) => readSysctl(parameter) === "0");
    if (off.length === 0) return ok(`net.ipv4.ip_forward is 1, on ${names.join(", ")} too`);
    return problem(`forwarding is off on single interfaces: ${off.join(", ")}`, {
      cure: off.map((parameter) => `sysctl -w ${parameter}=1`),
    });
  },
};
