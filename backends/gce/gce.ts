import { formatIPv4, Prefix } from "../../mod/ip/mod.ts";
import type { Backend } from "../backend.ts";
import { providerBackend } from "../provider/backend.ts";
import { ProviderError } from "../provider/errors.ts";
import type { ProviderRoute, RouteProvider, RouteTable, Survey } from "../provider/provider.ts";
import { Compute, type RouteResource } from "./compute.ts";
import { type GceMachine, GceMetadata, lastSegment } from "./metadata.ts";
import { routeName } from "./route_name.ts";

/** flannel's, and what Google gives a route by default; the lowest number wins. */
const PRIORITY = 1000;

/** Warning of a Route resource whose instance was deleted. */
const INSTANCE_GONE = "NEXT_HOP_INSTANCE_NOT_FOUND";

/** Google's network: its router carries the packets, by a route to our instance. */
export const gceBackend: Backend = providerBackend({
  type: "gce",
  document: "docs/backends/gce.md",
  async open({ external }, signal) {
    const metadata = new GceMetadata();
    const machine = await metadata.machine(formatIPv4(external.address), signal);
    const { project, account } = machine;
    return new Gce(machine, new Compute({ metadata, project, account }));
  },
});

export class Gce implements RouteProvider {
  readonly #machine: GceMachine;
  readonly #compute: Compute;

  constructor(machine: GceMachine, compute: Compute) {
    this.#machine = machine;
    this.#compute = compute;
  }

  async survey(signal: AbortSignal): Promise<Survey> {
    const { name, network } = this.#machine;
    const all = await this.#compute.listRoutes(signal);
    const here = all.filter((route) => lastSegment(route.network) === network);
    const routes = here.flatMap((route) => this.#describe(route));
    const own = new Set(
      routes.filter(({ target }) => target === "own").map(({ destination }) => String(destination)),
    );
    const rivals = here.filter((route) => isRival(route) && own.has(route.destRange));
    return {
      self: name,
      tables: [{ id: `network ${network}`, routes }],
      settings: [],
      obstacles: [
        ...await this.#forwardingObstacle(signal),
        ...rivals.map((route) =>
          `route ${route.name} leads ${route.destRange} elsewhere, too, and is not flannel's: packets ` +
          "to our subnet may not come here"
        ),
      ],
    };
  }

  async create(_table: RouteTable, destination: Prefix, signal: AbortSignal): Promise<void> {
    const { project, network } = this.#machine;
    try {
      await this.#compute.insertRoute({
        name: routeName(destination),
        network:
          `https://www.googleapis.com/compute/v1/projects/${project}/global/networks/${network}`,
        destRange: String(destination),
        priority: PRIORITY,
        nextHopInstance: `https://www.googleapis.com/compute/v1/${this.#instancePath()}`,
      }, signal);
    } catch (error) {
      if (!(error instanceof ProviderError) || error.kind !== "exists") throw error;
      throw new ProviderError(
        "exists",
        `${error.message}; a project has each name once, whatever the network: two networks of one ` +
          "project cannot have the same subnets",
        { cause: error },
      );
    }
  }

  /** Removes a route and creates it again: Google cannot change one. */
  async replace(table: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    try {
      await this.remove(table, route, signal);
    } catch (error) {
      if (!(error instanceof ProviderError) || error.kind !== "missing") throw error;
    }
    await this.create(table, route.destination, signal);
  }

  async remove(_table: RouteTable, route: ProviderRoute, signal: AbortSignal): Promise<void> {
    await this.#compute.deleteRoute(route.name!, signal);
  }

  /** Routes that are flannel's, by their names. */
  #describe(route: RouteResource): ProviderRoute[] {
    const { name, destRange, nextHopInstance = "", priority, warnings = [] } = route;
    const destination = Prefix.parse(destRange);
    if (destination === undefined || name !== routeName(destination)) return [];
    const isGone = warnings.some(({ code }) => code === INSTANCE_GONE);
    const isOwn = pathOf(nextHopInstance) === this.#instancePath() && priority === PRIORITY;
    const via = lastSegment(nextHopInstance) || "no instance";
    return [{ destination, name, via, target: isGone ? "gone" : isOwn ? "own" : "other" }];
  }

  #instancePath(): string {
    const { project, zone, name } = this.#machine;
    return `projects/${project}/zones/${zone}/instances/${name}`;
  }

  /** An instance drops packets of other addresses unless it was made to forward. */
  async #forwardingObstacle(signal: AbortSignal): Promise<string[]> {
    const { zone, name } = this.#machine;
    try {
      const { canIpForward = false } = await this.#compute.getInstance(zone, name, signal);
      if (canIpForward) return [];
      return [
        `instance ${name} has canIpForward off, so Google drops the packets of its containers; make ` +
        "it again with gcloud compute instances create --can-ip-forward",
      ];
    } catch (error) {
      if (!(error instanceof ProviderError) || error.isPassing) throw error;
      return [`whether instance ${name} may forward packets cannot be looked up: ${error.message}`];
    }
  }
}

/** A route under a name that is not flannel's, which may win over one of flanneld. */
function isRival({ name, destRange, priority }: RouteResource): boolean {
  const destination = Prefix.parse(destRange);
  return destination !== undefined && name !== routeName(destination) && priority <= PRIORITY;
}

/** `projects/p/zones/z/instances/i` of a URL, whichever host and version it names. */
function pathOf(url: string): string {
  const at = url.indexOf("projects/");
  return at < 0 ? url : url.slice(at);
}
