import { counted } from "../../agent/counted.ts";
import { atMost, type Check, ok, problem } from "../check.ts";

/** Is all in the kernel that should be? What the agent would change is what is missing or wrong. */
export const kernelCheck: Check = {
  id: "kernel",
  title: "device, addresses, routes, neighbours and forwarding entries are complete",
  async run(host) {
    await host.requireAgent();
    const { kernel } = await host.plan();
    const { device } = await host.tunnel();
    if (kernel.length === 0) {
      const refused = (await host.peers()).filter(({ refused }) => refused !== undefined).length;
      const carried = (await host.peers()).length - refused;
      return ok(
        `${device ?? "routes"}: ${counted(carried, "peer")}` +
          (refused > 0 ? `, ${refused} refused` : ""),
      );
    }
    return problem(`${counted(kernel.length, "object")} missing or wrong`, {
      evidence: atMost(kernel.map(({ sign, text }) => `${sign} ${text}`)),
      cure: [
        "an agent that runs puts them back at once: is it running? journalctl -u flanneld -n 50",
        "what keeps altering them is another program: NetworkManager, systemd-networkd, a script",
      ],
    });
  },
};
