import { RTPROT_FLANNEL } from "../../../backends/reconcile.ts";
import { formatIPv4, Prefix } from "../../ip/mod.ts";
import { atMost, type Check, ok, problem } from "../check.ts";
import { RT_TABLE_MAIN, RTPROT_KERNEL } from "../../sys/linux_constants.ts";

/** Checks that the range overlaps no network that this host is on, and no route of another program. */
export const conflictCheck: Check = {
  id: "conflict",
  title: "the network's range is free of this host's own networks",
  async run(host) {
    const { netlink } = host;
    const { network } = await host.config();
    const refusal = await host.networkRefusal();
    if (refusal !== undefined) {
      return problem(refusal, {
        fix: ["correct Network in the store's config; agents follow it without a restart"],
      });
    }
    const { device } = await host.tunnel();
    const own = (await host.ownLease())?.subnet ?? (await host.subnetEnv()).subnet;
    const name = (index: number) => netlink.linkByIndex(index)?.name ?? `interface ${index}`;
    const deviceIndex = device === undefined ? undefined : netlink.link(device)?.index;
    const addresses = netlink.addresses()
      .map((address) => ({
        ...address,
        prefix: new Prefix(address.address, address.prefixLength),
      }))
      // Docker's bridge has an address of this host's lease.
      .filter(({ index, prefix }) =>
        index !== deviceIndex && prefix.overlaps(network) && own?.containsPrefix(prefix) !== true
      )
      .map(({ index, address, prefixLength }) =>
        `${name(index)} has ${formatIPv4(address)}/${prefixLength}`
      );
    const routes = netlink.routes({ table: RT_TABLE_MAIN })
      .filter(({ destination, oif, protocol }) =>
        network.containsPrefix(destination) && oif !== deviceIndex && protocol !== RTPROT_KERNEL &&
        protocol !== RTPROT_FLANNEL
      )
      .map(({ destination, oif, gateway }) =>
        `a route that flanneld does not manage leads to ${destination} by ${name(oif)}` +
        (gateway === undefined ? "" : ` via ${formatIPv4(gateway)}`)
      );
    const evidence = [...addresses, ...routes];
    if (evidence.length === 0) return ok(`nothing else of this host is in ${network}`);
    return problem(`this host has a network of its own in ${network}`, {
      evidence: atMost(evidence),
      fix: [
        "take a Network for containers that no host is on (the agents switch to it by themselves),",
        "or remove the address or the route: ip address del ..., ip route del ...",
      ],
    });
  },
};
