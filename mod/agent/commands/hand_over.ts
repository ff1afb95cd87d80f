import { describeRoute, type NameOf } from "../../../backends/describe.ts";
import type { StaleState } from "../../../backends/backend.ts";
import { RTPROT_BOOT } from "../../sys/linux_constants.ts";
import { type HandedOverPeer, VxlanHandOver } from "../../../backends/vxlan/hand_over.ts";
import { vtepMac } from "../../../backends/vxlan/vtep_mac.ts";
import type { PreviousSubnet } from "../../export/mod.ts";
import { openFirewall, PeerSources } from "../../firewall/mod.ts";
import type { Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import { type Link, type Netlink, type Operation, type Route, VXLAN } from "../../sys/mod.ts";
import { firewallSpec } from "../firewall/firewall_spec.ts";
import type { AgentOptions } from "../core/options.ts";
import type { CleanupOptions, Removal } from "./removal.ts";
import { counted } from "../../text/mod.ts";

/** Objects that flannel 0.7.1 takes over. */
export interface HandOverRequest {
  readonly agent: AgentOptions;
  readonly netlink: Netlink;
  /** Networks that this host served. */
  readonly networks: readonly Prefix[];
  readonly former: PreviousSubnet;
  /** Kernel objects that the agent left. */
  readonly objects: readonly StaleState[];
  /** Reads the leases from the store; none when the store is unreachable. */
  readonly leases: () => Promise<readonly Lease[]>;
}

/** Callbacks for objects that stay and for failures, and the signal. */
type HandOverOptions = Pick<CleanupOptions, "signal" | "onKept" | "onFailed">;

/**
 * Returns the steps that change an agent's objects on this host into those of a stopped flannel 0.7.1:
 *
 * - vxlan: the device stays; one route for the network in place of the peers', neighbours that age
 * - host-gw: the routes stay, with the protocol number of flannel's routes
 * - udp: all is removed; flannel makes `flannel0` itself. So is a device of a backend that flannel 0.7.1 lacks
 *
 * The chain that masquerades is removed, since flannel has rules of its own for that. The accepting ones
 * stay: flannel 0.7.1 has none.
 */
export async function handOver(
  request: HandOverRequest,
  options: HandOverOptions,
): Promise<Removal[]> {
  const { netlink, networks, objects } = request;
  const network = request.former.network ?? networks[0];
  const device = vxlanDevice(request);
  const other = objects.find(({ link }) => link !== undefined)?.link;
  const routes = objects.filter(({ route }) => route?.gateway !== undefined);
  const stays = new Set<StaleState>();
  const steps: Removal[] = [];
  if (device !== undefined && network !== undefined) {
    const { direct, kept } = await directPeers(routes, request);
    for (const one of [...objects.filter(({ link }) => link === device), ...routes]) stays.add(one);
    const over = new VxlanHandOver(netlink, device, network, direct);
    steps.push(...vxlanSteps(over, netlink, options, direct));
    kept.forEach(options.onKept);
    options.onKept(
      `device ${device.name}: flannel 0.7.1 takes it over; start it within 20 s, which is how long ` +
        "connections in use go on without it",
    );
  } else if (device !== undefined) {
    stays.add(objects.find(({ link }) => link === device)!);
    options.onFailed(
      `device ${device.name}: its network is not known, since there is no subnet.env and the store ` +
        "was not reached; run this again when the store can be reached",
      "change",
    );
  } else if (other === undefined) {
    routes.forEach((one) => stays.add(one));
    steps.push(...routes.map(({ what, route }) => hostGatewayStep(what, route!, netlink)));
  }
  const rest = objects.filter((one) => !stays.has(one));
  return [
    ...steps,
    ...rest.map(({ what, remove }) => ({ what: [what], remove })),
    ...await firewallSteps(request, device ?? other, routes, options),
  ];
}

/** Finds the device with this host's address; there may be another one of an earlier VNI. */
function vxlanDevice({ netlink, objects, former }: HandOverRequest): Link | undefined {
  const devices = objects.flatMap(({ link }) =>
    link !== undefined && VXLAN.of(link) !== undefined ? [link] : []
  );
  const own = devices.find(({ index }) =>
    netlink.addresses({ index }).some(({ address }) => address === former.subnet?.address)
  );
  return own ?? devices[0];
}

function vxlanSteps(
  over: VxlanHandOver,
  netlink: Netlink,
  { signal }: HandOverOptions,
  direct: readonly HandedOverPeer[],
): Removal[] {
  const nameOf: NameOf = (index) => netlink.linkByIndex(index)?.name ?? `interface ${index}`;
  const { missingRoute, permanent } = over;
  const routes = [...over.routes, ...direct.map(({ direct }) => direct!.route)];
  const steps: Removal[] = [];
  if (missingRoute !== undefined || routes.length > 0) {
    const what = missingRoute === undefined ? [] : [describeRoute(missingRoute, nameOf)];
    steps.push({ what, verb: "add", remove: () => over.addRoute() });
  }
  if (permanent.length > 0) {
    steps.push({
      what: [`${counted(permanent.length, "permanent neighbour")} to entries that age`],
      verb: "change",
      remove: () => over.ageNeighbours(),
    });
  }
  if (routes.length > 0) {
    steps.push({
      what: routes.map((route) => describeRoute(route, nameOf)),
      remove: () => over.removeRoutes(signal),
    });
  }
  return steps;
}

/** Returns peers of DirectRouting, which flannel 0.7.1 does not have: it reaches them through the device. */
async function directPeers(
  routes: readonly StaleState[],
  { leases }: HandOverRequest,
): Promise<{ readonly direct: readonly HandedOverPeer[]; readonly kept: readonly string[] }> {
  if (routes.length === 0) return { direct: [], kept: [] };
  const known = new Map((await leases()).map((lease) => [lease.subnet.key, lease]));
  const direct: HandedOverPeer[] = [];
  const kept: string[] = [];
  for (const { what, route } of routes) {
    const { destination: subnet } = route!;
    const { publicIP, backendData } = known.get(subnet.key)?.attributes ?? {};
    const mac = vtepMac(backendData);
    if (mac !== undefined && publicIP !== undefined) {
      direct.push({ subnet, mac, direct: { publicIP, route: route! } });
    } else {
      kept.push(
        `${what}: the store, which names this peer's VTEP MAC, was not reached; remove the route once ` +
          "flannel 0.7.1 runs",
      );
    }
  }
  return { direct, kept };
}

/** Gives a route the protocol of `ip route add` and flannel 0.7.1. */
function hostGatewayStep(what: string, route: Route, netlink: Netlink): Removal {
  const object = { ...route, protocol: RTPROT_BOOT, metric: 0 };
  const operations: Operation[] = route.metric === 0
    ? [{ op: "replace", kind: "route", object }]
    : [{ op: "add", kind: "route", object }, { op: "delete", kind: "route", object: route }];
  return {
    what: [`${what} to proto ${RTPROT_BOOT}`],
    verb: "change",
    remove: () => {
      const [failure] = netlink.execute(operations).failures;
      if (failure !== undefined) throw failure.error;
    },
  };
}

/** Removes all rules but those that accept. */
async function firewallSteps(
  { agent, former, netlink }: HandOverRequest,
  device: Link | undefined,
  routes: readonly StaleState[],
  { signal }: HandOverOptions,
): Promise<Removal[]> {
  const { network, subnet } = former;
  if (network === undefined || subnet === undefined) return [];
  const underlay = netlink.linkByIndex(routes[0]?.route?.oif ?? 0)?.name;
  const ingress = {
    ...(device === undefined ? {} : { device: device.name }),
    ...(underlay === undefined ? {} : { underlay }),
  };
  const peers = new PeerSources();
  peers.replace(
    routes.map(({ route }) => ({ subnet: route!.destination, publicIP: route!.gateway! })),
  );
  const spec = firewallSpec(
    { ...agent, ipMasq: false },
    { network, subnet },
    { ingress },
    () => false,
  );
  const firewall = await openFirewall(spec, undefined, { signal, mode: agent.firewall, peers });
  const lines = await firewall.check();
  const rulesOf = (sign: string) =>
    lines.filter((line) => line.startsWith(sign)).map((line) => `firewall rule ${line.slice(2)}`);
  const [removed, added] = [rulesOf("-"), rulesOf("+")];
  const apply = async () => void await firewall.ensure();
  return [
    ...(removed.length === 0 ? [] : [{ what: removed, remove: apply }]),
    ...(added.length === 0 ? [] : [{ what: added, verb: "add" as const, remove: apply }]),
  ];
}
