/**
 * Shared parts of backends' unit tests: leases, the host and network that they are computed for, and a connection
 * that records changes in place of the kernel. No root is needed.
 *
 * @module
 */
import { decodeNetworkConfig } from "../../mod/config/mod.ts";
import { parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseAttributes } from "../../mod/lease/mod.ts";
import { Errno } from "../../mod/sys/mod.ts";
import { DryRunNetlink } from "../../mod/sys/netlink/dry_run.ts";
import { RTM_GETLINK } from "../../mod/sys/netlink/objects/link.ts";
import { Recorder } from "../../mod/sys/netlink/testing/recorder.ts";
import { NLM_F_DUMP } from "../../mod/sys/netlink/wire/message.ts";
import {
  IFF_UP,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTPROT_KERNEL,
} from "../../mod/sys/linux_constants.ts";
import type { RouteFilter } from "../../mod/sys/netlink/objects/route.ts";
import type { Route } from "../../mod/sys/mod.ts";
import type { BackendContext } from "../backend.ts";
import { describeChange } from "../describe.ts";
import { HostRoutes } from "../host_routes.ts";
import type { PeerContext } from "../reconciled/driver.ts";
import { DEVICE, EXTERNAL } from "./reconcile_lab.ts";

/** The guide's container network. */
export const NETWORK = "10.20.0.0/16";

/** Subnet and address of the host under test. */
export const [OWN_SUBNET, OWN_IP] = ["10.20.93.0/24", "172.28.128.101"];

/** Returns a lease as any host may have written it; `ttl` and `revision` mean nothing to backends. */
export function makeLease(
  subnet: string,
  publicIP: string,
  attributes: Omit<LeaseAttributes, "publicIP"> = {},
): Lease {
  return {
    subnet: Prefix.parse(subnet)!,
    attributes: { publicIP: parseIPv4(publicIP)!, ...attributes },
    revision: "1",
  };
}

/** Returns what a peer's objects are computed for: a host without routes of its own, whose peers are on its link. */
export function peerContext(changes: Partial<PeerContext> = {}): PeerContext {
  const network = Prefix.parse(NETWORK)!;
  return {
    config: { network, subnetLen: 24 },
    own: makeLease(OWN_SUBNET, OWN_IP),
    publicIP: parseIPv4(OWN_IP)!,
    host: new HostRoutes(network),
    ...{ device: DEVICE, mac: undefined, external: { name: "eth1", index: EXTERNAL } },
    link: [LINK],
    isDirect: () => false,
    ...changes,
  };
}

/** A backend's context whose connection records. */
export interface RecordingContext extends BackendContext {
  readonly netlink: DryRunNetlink;
}

/** The subnet of `eth1`, whose route the kernel makes with its address. */
const LINK = Prefix.parse("172.28.128.0/24")!;

/** Adds the route of the external interface's link to what a recording connection knows. */
class OneLinkNetlink extends DryRunNetlink {
  connected: Route | undefined;

  override routes(filter: RouteFilter = {}): Route[] {
    const { connected } = this;
    const has = connected !== undefined && (filter.oif ?? connected.oif) === connected.oif &&
      (filter.protocol ?? connected.protocol) === connected.protocol &&
      (filter.table ?? connected.table) === connected.table;
    return [...(has ? [connected] : []), ...super.routes(filter)];
  }
}

/**
 * Returns the context of a host with one interface, `eth1`, the route to its link, and nothing else in the kernel.
 *
 * @param backend the config's `Backend`
 */
export async function recordingContext(
  backend: Readonly<Record<string, JsonValue>>,
): Promise<RecordingContext> {
  const netlink = new OneLinkNetlink(
    new Recorder({
      refuse: ({ type, flags }) =>
        type === RTM_GETLINK && (flags & NLM_F_DUMP) !== NLM_F_DUMP ? Errno.ENODEV : 0,
    }),
  );
  const { name, index, mtu } = netlink.makeLink({ name: "eth1", flags: IFF_UP, mtu: 1500 });
  const address = parseIPv4(OWN_IP)!;
  netlink.connected = {
    ...{ destination: LINK, oif: index, onlink: false, source: address, metric: 0 },
    ...{ protocol: RTPROT_KERNEL, scope: RT_SCOPE_LINK, table: RT_TABLE_MAIN },
  };
  return {
    config: await decodeNetworkConfig(JSON.stringify({ Network: NETWORK, Backend: backend })),
    external: { name, index, mtu, address, publicIP: address },
    ...{ netlink, formerNetworks: [] },
  };
}

/** Returns the changes that a network asked the kernel for, in the words of ip(8). */
export function recordedChanges({ netlink }: RecordingContext): string[] {
  return netlink.changes.flatMap((change) =>
    describeChange(change, (index) => netlink.nameOf(index))
  ).map(({ sign, text }) => `${sign} ${text}`).filter((line) => !line.startsWith("+ device eth1 "));
}
