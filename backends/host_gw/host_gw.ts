import { ConfigError } from "../../mod/config/mod.ts";
import { formatIPv4, type Prefix } from "../../mod/ip/mod.ts";
import { type Lease, leaseKey } from "../../mod/lease/mod.ts";
import { warning } from "../../mod/observe/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../../mod/subnet/mod.ts";
import { monitor, type Route } from "../../mod/sys/mod.ts";
import type { Backend, BackendContext, Ingress, Network, NetworkStatus } from "../backend.ts";
import { execute } from "../execute.ts";
import { HostRoutes, readHostTables } from "../host_routes.ts";
import { managesRoute } from "../managed.ts";
import { Refusals, tellPeer } from "../peers.ts";
import { diff, type KernelObjects } from "../reconcile.ts";
import { type HostGwContext, hostGwRefusal, linkPrefixes, peerRoute } from "./desired.ts";
import { GatewayDrift } from "./drift.ts";
import { RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** Plain routes between hosts on one link: nothing is encapsulated. */
export const hostGwBackend: Backend = {
  type: "host-gw",
  changesKernel: true,
  mtuFor: (_options, interfaceMtu) => interfaceMtu,
  // deno-lint-ignore require-await -- a bad option is to be a rejection, as the interface says
  async prepare(context: BackendContext): Promise<Network> {
    return new HostGwNetwork(context);
  },
};

class HostGwNetwork implements Network {
  readonly mtu: number;
  readonly ingress: Ingress;
  readonly leaseType = "host-gw";
  readonly #context: BackendContext;
  readonly #refusals = new Refusals();
  /** By {@linkcode Prefix.key}. */
  readonly #routes = new Map<number, Route>();
  readonly #host: HostRoutes;
  #link: readonly Prefix[] = [];
  #own: Lease | undefined;
  #saidNoLink = false;

  constructor(context: BackendContext) {
    const { external } = context;
    if (external.publicIP !== external.address) {
      throw new ConfigError(
        `your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is ` +
          `not supported by host-gw backend (public IP ${formatIPv4(external.publicIP)}, ` +
          `${external.name} has ${formatIPv4(external.address)}; vxlan and udp work behind a NAT)`,
      );
    }
    this.#context = context;
    this.#host = new HostRoutes(context.config.network);
    this.mtu = external.mtu;
    this.ingress = { underlay: external.name };
  }

  leaseData(): undefined {
    return undefined;
  }

  sync(own: Lease, leases: LeaseSet): Promise<number> {
    const { netlink, external } = this.#context;
    this.#own = own;
    const tables = readHostTables(netlink);
    this.#host.load(tables);
    this.#link = linkPrefixes(tables.routes, external.index);
    if (!this.#hasLink()) return Promise.resolve(1);
    const context = this.#peerContext(own);
    const known = new Set<string>();
    this.#routes.clear();
    for (const lease of leases.values()) {
      known.add(leaseKey(lease.subnet));
      if (this.#accepts(lease, context)) {
        this.#routes.set(lease.subnet.key, peerRoute(lease, context));
      }
    }
    this.#refusals.retain(known);
    const actual = tables.routes.filter(managesRoute(this.#context, undefined));
    const operations = diff(objects(this.#routes.values()), objects(actual));
    return Promise.resolve(execute(netlink, this.#host.addable(operations), "sync"));
  }

  apply({ added, removed, changed }: LeaseSetChange): Promise<number> {
    if (this.#own === undefined) throw new Error("apply() before sync()");
    // Until the interface is back there is nothing to route by; its return ends in sync().
    if (this.#link.length === 0) return Promise.resolve(1);
    const context = this.#peerContext(this.#own);
    const before = new Set<Route>();
    const after: Route[] = [];
    const leave = ({ subnet }: Lease): boolean => {
      const route = this.#routes.get(subnet.key);
      if (route === undefined) return false;
      before.add(route);
      return this.#routes.delete(subnet.key);
    };
    for (const lease of removed) {
      this.#refusals.forget(lease);
      if (leave(lease)) tellPeer("removed", lease);
    }
    const come = (lease: Lease, verb: string) => {
      leave(lease);
      if (!this.#accepts(lease, context)) return;
      const route = peerRoute(lease, context);
      this.#routes.set(lease.subnet.key, route);
      after.push(route);
      tellPeer(verb, lease);
    };
    for (const lease of added) come(lease, "added");
    for (const { after: lease } of changed) come(lease, "changed");
    const operations = this.#host.addable(diff(objects(after), objects(before)));
    return Promise.resolve(execute(this.#context.netlink, operations, "change"));
  }

  status(): NetworkStatus {
    return { peers: this.#routes.size, refused: this.#refusals.reasons };
  }

  async run(signal: AbortSignal, repair: (what: string) => void): Promise<void> {
    const { external, config, netlink } = this.#context;
    const drift = new GatewayDrift();
    const state = { external, route: ({ key }: Prefix) => this.#routes.get(key) };
    for await (const events of monitor(["link", "address", "route"], { signal })) {
      if (this.#own === undefined) continue;
      const own = this.#own.subnet;
      const peers = {
        has: ({ key }: Prefix) => this.#routes.has(key),
        refused: this.#refusals.reasons.size,
      };
      let report: string | undefined;
      // Of each group the first will do, since a repair looks at everything; but all are to be seen.
      for (const event of events) {
        const what = netlink.isOwn(event) ? undefined : drift.report(event, state);
        const changed = this.#host.observe(event, peers, config.subnetLen, own);
        report ??= what ?? changed;
      }
      if (report !== undefined) repair(report);
    }
  }

  remove(): Promise<void> {
    const { netlink, external } = this.#context;
    const ours = netlink.routes({ table: RT_TABLE_MAIN, oif: external.index })
      .filter(managesRoute(this.#context, undefined));
    execute(netlink, ours.map((object) => ({ op: "delete", kind: "route", object })), "removal");
    return Promise.resolve();
  }

  /** Nothing of it runs in this process. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** False, and said once, while the interface has no network of its own to find peers on. */
  #hasLink(): boolean {
    const { name } = this.#context.external;
    const has = this.#link.length > 0;
    if (!has && !this.#saidNoLink) {
      warning(
        `${name} is down or has no network of its own: no peer can be routed to until it has`,
      );
    }
    this.#saidNoLink = !has;
    return has;
  }

  #peerContext(own: Lease): HostGwContext {
    const { config, external } = this.#context;
    return {
      config,
      own,
      publicIP: external.publicIP,
      host: this.#host,
      external,
      link: this.#link,
    };
  }

  #accepts(lease: Lease, context: HostGwContext): boolean {
    if (lease.subnet.equals(context.own.subnet)) return false;
    return this.#refusals.note(lease, hostGwRefusal(lease, context)) === undefined;
  }
}

function objects(routes: Iterable<Route>): KernelObjects {
  return { addresses: [], neighbours: [], fdb: [], routes };
}
