import { type Lease, leaseKey } from "../../mod/lease/mod.ts";
import type { LeaseSet } from "../../mod/subnet/mod.ts";
import type { Link } from "../../mod/sys/mod.ts";
import type { BackendContext, DryRun, PlannedNetwork } from "../backend.ts";
import { execute } from "../execute.ts";
import { connectedNetworks, refusal, Refusals } from "../peers.ts";
import { diff } from "../reconcile.ts";
import { actualObjects, deviceObjects } from "./desired.ts";

/**
 * What the udp backend would do to device, address and route: it opens neither device nor socket,
 * since an agent that runs has both. The peers are the data path's and no kernel objects.
 */
export class UdpDryRun implements PlannedNetwork {
  readonly mtu: number;
  readonly #context: BackendContext;
  readonly #device: Link;

  constructor(context: BackendContext, dryRun: DryRun, name: string, mtu: number) {
    this.mtu = mtu;
    this.#context = context;
    this.#device = context.netlink.link(name) ??
      dryRun.makeLink({ name, kind: "tun", flags: 0, mtu });
    context.netlink.setLink(this.#device.index, { mtu, up: true });
  }

  leaseData(): undefined {
    return undefined;
  }

  sync(own: Lease, leases: LeaseSet): Promise<number> {
    const { netlink, config, external, formerNetworks } = this.#context;
    const refusals = new Refusals();
    const connected = connectedNetworks(netlink, this.#device.index);
    for (const lease of leases.values()) {
      if (leaseKey(lease.subnet) === leaseKey(own.subnet)) continue;
      refusals.note(lease, refusal(lease, { config, own, publicIP: external.publicIP, connected }));
    }
    const { index } = this.#device;
    const networks = [config.network, ...formerNetworks];
    const operations = diff(
      deviceObjects(own, config.network, index),
      actualObjects(netlink, index, networks),
    );
    return Promise.resolve(execute(netlink, operations, "plan"));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
