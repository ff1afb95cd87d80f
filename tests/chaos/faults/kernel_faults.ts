/** Damage by other programs to a host's kernel objects, and their transfer to another program. */
import type { GuideBackend } from "../../e2e/guide.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { type Fault, STORE_KINDS } from "../fault.ts";

/** Ways to lose objects of each backend. */
const DAMAGE: Readonly<Record<GuideBackend["type"], readonly string[]>> = {
  "vxlan": [
    "ip route flush proto 102",
    "ip neigh flush dev flannel.1 nud permanent",
    "bridge fdb show dev flannel.1 | while read -r mac _; do bridge fdb del $mac dev flannel.1; done",
    "ip link del flannel.1",
    "ip link set flannel.1 down",
    "ip address flush dev flannel.1",
  ],
  "udp": ["ip route flush proto 102", "ip link del flannel0", "ip address flush dev flannel0"],
  "host-gw": ["ip route flush proto 102"],
};

const FLUSHES = ["iptables -F", "iptables -t nat -F", "iptables -t raw -F", "nft flush ruleset"];

const everywhere = { scope: "host", stores: STORE_KINDS } as const;

/**
 * Hands the data path over to flannel 0.7.1, which does not come.
 *
 * @param after what docs/migrate-from-flannel.md has an operator do once flanneld is back
 */
function handedBack(
  backend: GuideBackend["type"],
  affects: Fault["affects"],
  after = "true",
): Fault {
  return {
    ...{ ...everywhere, name: `handed-back-by-${backend}`, backends: [backend], affects },
    // Entries that nobody renews age, so it cannot be long.
    holdMs: [2_000, 3_000],
    async inject({ host }) {
      await host.agent.stop();
      await host.lab.exec([FLANNELD, "cleanup", "-keep-device"]);
      return async () => {
        await host.agent.start();
        await host.shell(after);
      };
    },
  };
}

export const KERNEL_FAULTS: readonly Fault[] = [
  {
    ...{ ...everywhere, name: "kernel-objects-deleted", affects: "host", holdMs: [1_000, 3_000] },
    async inject({ cluster: { backend }, host, random }) {
      const damage = DAMAGE[backend.type];
      await host.shell(damage[random(damage.length)]!);
      return () => Promise.resolve();
    },
  },
  {
    ...{ ...everywhere, name: "firewall-flushed", affects: "nobody", holdMs: [1_000, 3_000] },
    async inject({ host, random }) {
      await host.shell(FLUSHES[random(FLUSHES.length)]!);
      return () => Promise.resolve();
    },
  },
  handedBack("vxlan", "nobody"),
  // Until flanneld has added its own routes, which takes it a second.
  handedBack("host-gw", "host", "ip route flush root 10.20.0.0/16 proto boot"),
  // 0.7.1's udp needs the device's name, and carries packets itself.
  handedBack("udp", "host"),
];
