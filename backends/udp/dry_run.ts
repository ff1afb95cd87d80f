import { type Lease, leaseKey } from "../../mod/lease/mod.ts";
import type { LeaseSet } from "../../mod/subnet/mod.ts";
import type { Link } from "../../mod/sys/mod.ts";
import type { BackendContext, DryRun, Ingress, PlannedNetwork, SourceCheck } from "../backend.ts";
import type { DiffLine } from "../describe.ts";
import { execute } from "../execute.ts";
import { HostRoutes } from "../host_routes.ts";
import { readManaged } from "../managed.ts";
import { refusal, Refusals } from "../peers.ts";
import { diff } from "../reconcile.ts";
import { deviceObjects } from "./desired.ts";
import { hasKernelPath } from "./kernel/inspect.ts";
import { planPrograms } from "./kernel/plan.ts";
import { pathSettings } from "./kernel/programs/settings.ts";
import { type UdpOptions, udpSourceCheck } from "./options.ts";

/**
 * A dry run of the udp backend: devices, address, route and eBPF programs. It opens neither device nor socket,
 * because a running agent holds both. Peers are entries of the data path's table, not kernel objects.
 */
export class UdpDryRun implements PlannedNetwork {
  readonly mtu: number;
  readonly ingress: Ingress;
  readonly sourceCheck: SourceCheck;
  readonly #context: BackendContext;
  readonly #device: Link;
  readonly #port: number;
  #programs: readonly DiffLine[] = [];

  constructor(
    context: BackendContext,
    dryRun: DryRun,
    name: string,
    { mtu, port }: Pick<UdpOptions, "mtu" | "port">,
  ) {
    this.mtu = mtu;
    this.ingress = { device: name, ...(hasKernelPath(name) ? {} : { port }) };
    this.sourceCheck = udpSourceCheck(port, context.udp);
    this.#port = port;
    this.#context = context;
    this.#device = context.netlink.link(name) ??
      dryRun.makeLink({ name, kind: "tun", flags: 0, mtu });
    context.netlink.setLink(this.#device.index, { mtu, up: true });
  }

  leaseData(): undefined {
    return undefined;
  }

  async sync(own: Lease, leases: LeaseSet): Promise<number> {
    const { netlink, config, external } = this.#context;
    const { index, name } = this.#device;
    this.#programs = await planPrograms(
      this.#context,
      name,
      pathSettings(this.#context, { device: index, port: this.#port, own: own.subnet }),
    );
    const refusals = new Refusals();
    const host = HostRoutes.read(config.network, netlink);
    for (const lease of leases.values()) {
      if (leaseKey(lease.subnet) === leaseKey(own.subnet)) continue;
      refusals.note(lease, refusal(lease, { config, own, publicIP: external.publicIP, host }));
    }
    const operations = diff(
      deviceObjects(own, config.network, index),
      readManaged(netlink, this.#context, index),
    );
    return execute(netlink, host.addable(operations), "plan");
  }

  plannedPrograms(): readonly DiffLine[] {
    return this.#programs;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
