import type { NetworkConfig } from "../../mod/config/mod.ts";
import type { IPv4 } from "../../mod/ip/mod.ts";
import type { JsonValue, Lease } from "../../mod/lease/mod.ts";
import type { FdbEntry, InterfaceAddress, Mac, Neighbour, Route } from "../../mod/sys/mod.ts";
import { type PeerRules, refusal } from "../peers.ts";
import { RTPROT_FLANNEL } from "../reconcile.ts";
import { metricOf } from "../route_metric.ts";
import {
  IFA_F_PERMANENT,
  NUD_PERMANENT,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
} from "../../mod/sys/linux_constants.ts";
import { truncate } from "../../mod/text/mod.ts";

/** Characters of a value of the store in a log line. */
const SHOWN = 80;

/** What the objects are computed from, besides the lease. */
export interface VxlanContext extends PeerRules {
  readonly config: Pick<NetworkConfig, "network" | "subnetLen">;
  /** Index of `flannel.<VNI>`. */
  readonly device: number;
  /** Index of the external interface. */
  readonly external: number;
  /** True when `address` is on-link, so that packets need no tunnel (DirectRouting). */
  readonly isDirect: (address: IPv4) => boolean;
}

/** The three objects of a tunnelled peer, or the one of a direct peer. */
export interface PeerObjects {
  readonly neighbour?: Neighbour;
  readonly fdb?: FdbEntry;
  readonly route: Route;
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** The last result of {@linkcode vtepMac}, which is called several times in a row for one lease. */
const LAST: { data?: JsonValue | undefined; mac?: Mac | undefined } = {};

/** The peer's VTEP MAC, lower case; `undefined` when missing, malformed, multicast or zero. */
export function vtepMac(data: JsonValue | undefined): Mac | undefined {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return undefined;
  if (data !== LAST.data) {
    LAST.mac = readVtepMac(data as { readonly [key: string]: JsonValue });
    LAST.data = data;
  }
  return LAST.mac;
}

function readVtepMac(data: { readonly [key: string]: JsonValue }): Mac | undefined {
  for (const [key, value] of Object.entries(data)) {
    if (key.toLowerCase() !== "vtepmac" || typeof value !== "string") continue;
    const mac = value.toLowerCase().replaceAll("-", ":");
    // Bit 0 of the first octet marks a group address (IEEE 802): no VTEP has one.
    if (!MAC.test(mac) || (parseInt(mac.slice(0, 2), 16) & 1) === 1) return undefined;
    return mac === "00:00:00:00:00:00" ? undefined : mac;
  }
  return undefined;
}

/** The host and the network that {@linkcode vxlanRefusal} checks a lease for. */
export type VxlanRules =
  & PeerRules
  & Partial<Pick<VxlanContext, "external" | "isDirect">>
  & {
    /** The MAC of our VTEP. */
    readonly mac?: Mac | undefined;
  };

/** Why a lease is not programmed by vxlan; `undefined` when it is. */
export function vxlanRefusal(lease: Lease, rules: VxlanRules): string | undefined {
  const { publicIP, backendType: type = "", backendData } = lease.attributes;
  if (type !== "vxlan") {
    return `is non-vxlan: type=${type === "" ? "udp or none" : truncate(type, SHOWN)}`;
  }
  const { external, isDirect } = rules;
  const reason = refusal(
    ...[lease, rules] as const,
    () =>
      external !== undefined && isDirect?.(publicIP)
        ? { oif: external, gateway: publicIP }
        // By our own device, where no route is anybody else's.
        : undefined,
  );
  if (reason !== undefined) return reason;
  const mac = vtepMac(backendData);
  if (mac === undefined) {
    const data = JSON.stringify(backendData) ?? "nothing";
    return `has no usable VtepMAC in its BackendData (${truncate(data, SHOWN)})`;
  }
  return mac === rules.mac ? `has our own VTEP MAC ${mac}` : undefined;
}

/**
 * The kernel objects of one peer whose lease was not refused: a permanent neighbour and FDB entry
 * and an onlink route, newer flannel's layout, which needs no daemon to answer misses. The peer's
 * VTEP answers for the subnet's base address, whichever flannel it runs.
 */
export function peerObjects(lease: Lease, context: VxlanContext): PeerObjects {
  const { subnet, attributes } = lease;
  const route = {
    destination: subnet,
    protocol: RTPROT_FLANNEL,
    scope: RT_SCOPE_UNIVERSE,
    table: RT_TABLE_MAIN,
    metric: metricOf(subnet, context.config),
  };
  if (context.isDirect(attributes.publicIP)) {
    return {
      route: { ...route, gateway: attributes.publicIP, oif: context.external, onlink: false },
    };
  }
  const mac = vtepMac(attributes.backendData)!;
  return {
    neighbour: { index: context.device, address: subnet.address, mac, state: NUD_PERMANENT },
    fdb: {
      index: context.device,
      mac,
      destination: attributes.publicIP,
      state: NUD_PERMANENT,
    },
    route: { ...route, gateway: subnet.address, oif: context.device, onlink: true },
  };
}

/** The device's own address: the lease's base as /32, so that no connected route overlaps docker0. */
export function deviceAddress(own: Lease, device: number): InterfaceAddress {
  return {
    index: device,
    address: own.subnet.address,
    prefixLength: 32,
    scope: RT_SCOPE_UNIVERSE,
    flags: IFA_F_PERMANENT,
  };
}
